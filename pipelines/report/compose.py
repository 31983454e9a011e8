"""Puts a report of a run together from its parts."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipelines.data.groups import tied_units
from pipelines.evaluation.class_table import class_table
from pipelines.evaluation.run_calibration import load_calibration
from pipelines.report.content import Report
from pipelines.report.findings import certainty_of
from pipelines.report.gather import Judged, gather_album
from pipelines.report.made import how_it_was_made
from pipelines.runs.directory import Run
from pipelines.runs.state import progress_of


@dataclass(frozen=True)
class Result:
    """The result of an evaluation.

    Args:
        title: Title with the names of the run and the split.
        metrics: Content of metrics.json.
        matrix: Confusion matrix with counts of images; rows are the true classes.
        predictions: Content of predictions.csv.
        note: What a reader must know beside the figures, "" for nothing.
    """

    title: str
    metrics: dict[str, Any]
    matrix: pd.DataFrame
    predictions: pd.DataFrame
    note: str = ""


def compose_report(run: Run, judged: Judged, result: Result) -> Report:
    """Returns the report of a run.

    Args:
        run: Finished run.
        judged: Images that were evaluated.
        result: Result of the evaluation.
    """
    groups = tied_units(judged.rows["similar"], judged.rows["group"])
    labels, probabilities = judged.labels, judged.probabilities
    mirror = bool(result.metrics["mirror"])
    return Report(
        **vars(result),
        classes=class_table(result.matrix),
        certainty=certainty_of(labels, probabilities, groups, load_calibration(run), mirror),
        album=gather_album(run, judged),
        made=how_it_was_made(run, str((progress_of(run) or {}).get("best", ""))),
    )
