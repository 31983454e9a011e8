"""The HTML page of an evaluation."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.evaluation.metrics import most_confused, per_class
from pipelines.report.html import data_uri, document, heading, photo, photos, table

_MISTAKES = 24


def render_page(
    title: str,
    metrics: dict[str, Any],
    matrix: pd.DataFrame,
    predictions: pd.DataFrame,
    root: Path,
    figure: Path,
) -> str:
    """Returns the page as HTML. Every name that comes from the user's folders is escaped.

    Args:
        title: Title with the names of the run and the split.
        metrics: Content of metrics.json.
        matrix: Confusion matrix with counts of images.
        predictions: Content of predictions.csv.
        root: Folder of the images, for thumbnails of the most confident mistakes.
        figure: Path of the confusion matrix as a PNG.
    """
    low, high = metrics["accuracy_ci95"]
    figures = [
        ("images", str(metrics["n"])),
        *([("the model has learned from", metrics["trained_on"])] if "trained_on" in metrics else []),
        ("accuracy", f"{metrics['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f})"),
        *(
            (name.replace("_", " "), f"{metrics[name]:.4f}")
            for name in ("top5_accuracy", "balanced_accuracy", "macro_f1", "cohen_kappa", "matthews_corrcoef")
        ),
        ("log loss", f"{metrics['log_loss']:.4f}"),
        ("expected calibration error", f"{metrics['ece']:.4f}"),
        *(
            (f"hardly recognized: {each['class']}", f"{each['recognized']} of {each['images']} images")
            for each in metrics["never_recognized"]
        ),
    ]
    confused = [(true, taken, str(count), str(images)) for true, taken, count, images in most_confused(matrix, most=10)]
    classes = [
        (str(row["class"]), str(row["images"]), *(_share(row[name]) for name in ("precision", "recall", "f1")))
        for row in per_class(matrix).to_dict("records")
    ]
    matrix_picture = f'<img class="matrix" alt="confusion matrix" src="{data_uri(figure.read_bytes(), "image/png")}">'
    return document(
        title,
        [
            table(("figure", "value"), figures),
            heading("Confusion matrix"),
            matrix_picture,
            heading("Most confused"),
            table(("true", "taken for", "times", "images of the class"), confused),
            heading("Surest mistakes"),
            photos([_mistake(row, root) for row in _surest_mistakes(predictions)]),
            heading("Classes"),
            table(("class", "images", "precision", "recall", "F1"), classes),
        ],
    )


def _surest_mistakes(predictions: pd.DataFrame) -> list[dict[Hashable, Any]]:
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    return wrong.sort_values("confidence", ascending=False, kind="stable").head(_MISTAKES).to_dict("records")


def _mistake(row: dict[Hashable, Any], root: Path) -> str:
    return photo(
        root / row["path"], [f"{row['label']}, taken for {row['predicted']} ({row['confidence']:.0%})", row["path"]]
    )


def _share(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.3f}"
