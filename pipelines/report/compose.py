"""Adds to a report what its photos and its run have to say."""

from dataclasses import replace

from pipelines.evaluation.judged import Judged
from pipelines.report.content import Report
from pipelines.report.gather import bare_album, gather_album
from pipelines.report.made import how_it_was_made
from pipelines.runs.directory import Run
from pipelines.runs.state import progress_of


def completed(report: Report, judged: Judged, run: Run | None, *, by_run: bool) -> Report:
    """Returns a report with its photos, and with how the run was made.

    Args:
        report: Report of the figures alone.
        judged: Images that were evaluated.
        run: Finished run, or None.
        by_run: Whether the probabilities are those of the run's own model, which can then explain them.
    """
    if by_run and run is not None:
        report = replace(report, album=gather_album(run, judged))
    elif judged.root is not None:
        report = replace(report, album=bare_album(judged))
    if run is None or not by_run:
        return report
    return replace(report, made=how_it_was_made(run, str((progress_of(run) or {}).get("best", ""))))
