"""An evaluation, and the folder of files that it is written to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.evaluation.figures import Figures
from pipelines.evaluation.judged import Judged, photos_table
from pipelines.evaluation.label_issues import LabelsLookedAt
from pipelines.evaluation.metrics import per_class
from pipelines.evaluation.sides import PHOTOS
from pipelines.evaluation.slices import slice_table
from pipelines.evaluation.summary import summary_text
from pipelines.report.card import render_card
from pipelines.report.compose import completed
from pipelines.report.content import Report
from pipelines.report.figures import draw_confusion_matrix
from pipelines.report.html import framed
from pipelines.report.page import render_page
from pipelines.runs.directory import Run
from pipelines.runs.files import write_atomically, write_csv, write_json, write_text

_OPTIONAL = ("metrics.json", "slices.csv", "unknown.csv", "label_issues.csv")


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a model on labelled images.

    Args:
        title: Title with the names of the run and the images.
        folder: Folder of the evaluation.
        metrics: Content of metrics.json.
        confusion_matrix: Numbers of images; rows are the true classes, and columns are the predicted classes.
        predictions: Table with one row per image: path, label, predicted, confidence, decision if the run is
            calibrated, and one column "p:CLASS" per class.
        judged: Images with their labels and probabilities.
        figures: Everything that follows from them.
        labels: What was found among all labels of the run; None where they were not looked at.
        note: What a reader must know beside the figures, or "".
    """

    title: str
    folder: Path
    metrics: dict[str, Any]
    confusion_matrix: pd.DataFrame
    predictions: pd.DataFrame
    judged: Judged
    figures: Figures
    labels: LabelsLookedAt | None = None
    note: str = ""

    @property
    def report(self) -> Path:
        """Path of the page report.html."""
        return self.folder / "report.html"

    @property
    def per_class(self) -> pd.DataFrame:
        """Table with the number of images, precision, recall and F1 of each class."""
        return per_class(self.confusion_matrix)

    def __str__(self) -> str:
        """Returns the most important figures in a dozen lines, and the note."""
        summary = summary_text(self.metrics, self.confusion_matrix)
        labels = [self.labels.in_words()] if self.labels else []
        return "\n".join([summary, self.figures.in_words(), *labels, *([self.note] if self.note else [])])

    def _repr_html_(self) -> str:
        """Returns the report in a frame of its own, for notebooks."""
        return framed(self.report.read_text(encoding="utf-8"))


def write_evaluation(evaluation: Evaluation, run: Run | None, *, by_run: bool) -> None:
    """Writes the folder: the numbers first, and then what is made of them for people.

    Args:
        evaluation: Everything that is written.
        run: Finished run whose images or classes are judged, or None.
        by_run: Whether the probabilities are those of the run's own model.
    """
    metrics, matrix, folder = evaluation.metrics, evaluation.confusion_matrix, evaluation.folder
    judged = evaluation.judged
    for name in _OPTIONAL:  # until the numbers beside it are of this evaluation
        (folder / name).unlink(missing_ok=True)
    write_csv(folder / "predictions.csv", evaluation.predictions)
    write_csv(folder / "per_class.csv", evaluation.per_class)
    write_csv(folder / "confusion_matrix.csv", matrix, index=True)
    if judged.root is not None:
        write_csv(folder / "slices.csv", slice_table(evaluation.figures.slices))
    if evaluation.labels:
        write_csv(folder / "label_issues.csv", evaluation.labels.table)
    if len(judged.apart):
        write_csv(folder / "unknown.csv", judged.apart)
    write_csv(folder / PHOTOS, photos_table(judged))
    write_json(folder / "metrics.json", metrics)
    write_text(folder / "summary.txt", f"{evaluation}\n")
    figure = folder / "confusion_matrix.png"
    write_atomically(figure, lambda path: draw_confusion_matrix(matrix, path, evaluation.title))
    report = completed(_report(evaluation), judged, run, by_run=by_run)
    write_text(folder / "card.md", render_card(report))
    write_text(folder / "report.html", render_page(report))


def _report(evaluation: Evaluation) -> Report:
    return Report(
        evaluation.title,
        evaluation.metrics,
        evaluation.confusion_matrix,
        evaluation.predictions,
        evaluation.figures,
        evaluation.labels,
        evaluation.note,
    )
