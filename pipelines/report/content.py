"""What a report says: the figures of an evaluation, and everything else that was found about it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from pipelines.evaluation.figures import Figures
from pipelines.evaluation.label_issues import LabelsLookedAt
from pipelines.report.album import Album
from pipelines.report.made import Made

# The figures at the top of the page, by their names in metrics.json, with what each of them is.
FIGURES = (
    ("accuracy", "Accuracy", "share of the photos whose class is named"),
    ("balanced_accuracy", "Balanced accuracy", "mean of that share over the classes, whatever their sizes"),
    ("macro_f1", "Macro F1", "mean over the classes of the F1 of precision and recall"),
    ("log_loss", "Log loss", "mean surprise at the true class; less is better"),
)


@dataclass(frozen=True)
class Report:
    """Everything that a report and a model card say.

    Args:
        title: Title with the names of the run and the split.
        metrics: Content of metrics.json.
        matrix: Confusion matrix with counts of images; rows are the true classes.
        predictions: Content of predictions.csv.
        figures: Everything that follows from labels and probabilities.
        labels_looked_at: What was found among all labels of the run; None where they were not looked at.
        note: What a reader must know beside the figures, "" for nothing.
        album: Photos of the page.
        doubtful: Small copies of the first photos whose labels are to be looked at again, as data URIs, by their paths.
        made: How the run was made; None where the predictions are not a run's.
    """

    title: str
    metrics: dict[str, Any]
    matrix: pd.DataFrame
    predictions: pd.DataFrame
    figures: Figures
    labels_looked_at: LabelsLookedAt | None = None
    note: str = ""
    album: Album = field(default_factory=Album)
    doubtful: dict[str, str] = field(default_factory=dict)
    made: Made | None = None

    @property
    def names(self) -> list[str]:
        """The classes, in the order of every matrix."""
        return [str(name) for name in self.matrix.index]

    @property
    def labels(self) -> np.ndarray:
        """True class of each image, int [n]."""
        return pd.Index(self.names).get_indexer(pd.Index(self.predictions["label"].astype(str)))

    @property
    def probabilities(self) -> np.ndarray:
        """Probabilities, float [n, classes]."""
        return self.predictions[[f"p:{name}" for name in self.names]].to_numpy(float)
