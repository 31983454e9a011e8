"""Adds to a report what its photos and its run have to say."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.evaluation.judged import Judged
from pipelines.report.album import LARGE, LISTED, small_copies
from pipelines.report.content import Report
from pipelines.report.gather import bare_album, gather_album, roots_of
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
    if run is None or not by_run:
        return report if judged.root is None else replace(report, album=bare_album(judged))
    return replace(
        report,
        album=gather_album(run, judged),
        doubtful=_doubtful(report, roots_of(run, judged)),
        made=how_it_was_made(run, str((progress_of(run) or {}).get("best", ""))),
    )


def _doubtful(report: Report, roots: Sequence[Path]) -> dict[str, str]:
    """Returns small copies of the photos whose labels are to be looked at again."""
    if report.labels_looked_at is None:
        return {}
    paths = [str(path) for path in report.labels_looked_at.table["path"].head(LISTED)]
    places = [next((root / path for root in roots if (root / path).is_file()), roots[0] / path) for path in paths]
    return {path: source for path, (source, _) in zip(paths, small_copies(places, LARGE), strict=True)}
