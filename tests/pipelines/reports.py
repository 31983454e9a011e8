"""Reports that are made without a network, for tests of the page."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from pipelines.evaluation.figures import figures_of
from pipelines.evaluation.judged import Judged
from pipelines.evaluation.label_issues import ClassPair, LabelsLookedAt
from pipelines.evaluation.metrics import confusion_matrix
from pipelines.evaluation.predictions import prediction_table
from pipelines.evaluation.run_calibration import RunCalibration, fit_calibration
from pipelines.report.album import GRID, Album, Frame, OtherPhoto, PagePhoto, order_of_photos, picture_uri
from pipelines.report.content import Report
from pipelines.report.made import Made

# Names that a page must show as text: markup, quotes, an emoji, letters from right to left, and a class without photos.
ODD_NAMES = ["<script>alert(1)</script>", "\"><img src=x> 'quoted'", "🐜 ant", "שלום עולם", "plain_name", "none here"]


def answers(classes: int, images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns true classes, never the last one, and logits of a model that is mostly right."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes - 1, size=images)
    logits = random.normal(size=(images, classes))
    logits[np.arange(images), labels] += random.uniform(-0.5, 5.0, images)
    return labels, logits


def calibration_of_others(classes: int) -> RunCalibration:
    """Returns what a run knows from other photos of the same kind."""
    return fit_calibration(*answers(classes, 200, seed=1), "validation")


def made_report(names: list[str] = ODD_NAMES, images: int = 150, album: bool = True) -> Report:
    """Returns a report of drawn predictions with everything that a page can have."""
    labels, logits = answers(len(names), images)
    calibration = calibration_of_others(len(names))
    scaled = np.exp(logits / calibration.temperature)
    shares = scaled / scaled.sum(axis=1, keepdims=True)
    paths = [f"{names[label]}/{number:04d}.jpg" for number, label in enumerate(labels)]
    rows = pd.DataFrame(
        {"path": paths, "label": [names[label] for label in labels], "similar": 1 + np.arange(images) // 2}
    )
    judged = Judged("test", names, rows, shares)
    facts = pd.DataFrame({"brightness": np.linspace(0, 1, images), "file type": ["<jpg>", "png"] * (images // 2)})
    figures = figures_of(judged, calibration, facts)
    return Report(
        "run <b>, test",
        {**figures.metrics, "classes": names, "split": "test", "mirror": False},
        confusion_matrix(labels, shares.argmax(axis=1), names),
        prediction_table(paths, rows["label"].tolist(), shares, names),
        figures,
        _labels(names, paths),
        "a note with <b>",
        _album(labels, shares, names) if album else Album(),
        {paths[0]: picture_uri(_picture(0))},
        _made(),
    )


def _labels(names: list[str], paths: list[str]) -> LabelsLookedAt:
    issues = pd.DataFrame({"path": paths[:2], "label": names[:2], "suggested": names[1:3], "score": [0.01, 0.02]})
    return LabelsLookedAt(400, issues, [ClassPair(names[0], names[1], 40, 9)])


def _album(labels: np.ndarray, shares: np.ndarray, names: list[str]) -> Album:
    predicted = shares.argmax(axis=1)
    training = [OtherPhoto(f"train/{name}.jpg", name, picture_uri(_picture(9))) for name in names]
    levels = np.arange(-98, 98, dtype=np.int8).reshape(GRID, GRID)
    photos = []
    for image in order_of_photos(labels, predicted, shares.max(axis=1)):
        asked = {int(predicted[image]), int(labels[image])}
        photos.append(
            PagePhoto(
                int(image),
                picture_uri(_picture(int(image))),
                Frame(0.1, 0.0, 0.8, 1.0),
                dict.fromkeys(asked, levels),
                dict.fromkeys(asked, 0.5),
                dict.fromkeys(asked, 3.0),
                ((int(labels[image]), 0.9), (int(predicted[image]), 0.8)),
            )
        )
    return Album(photos, training, "exact", "6 training photos")


def _picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 32, 3)).astype(np.uint8))


def _made() -> Made:
    history = pd.DataFrame(
        {
            "epoch": [0, 1, 2, 2],
            "phase": ["head", "all layers", "all layers", "average: 0.5 of epoch 2"],
            "loss": [np.nan, 0.5, 0.3, np.nan],
            "accuracy": [np.nan, 0.8, 0.9, np.nan],
            "val_accuracy": [0.7, 0.8, 0.85, 0.86],
            "val_log_loss": [0.9, 0.6, 0.5, 0.48],
        }
    )
    facts = [("seed", "0"), ("SHA-256 of these weights", "a" * 64), ("versions", "resnet_tf 0.1.0")]
    findings = [("near-identical pictures", "2 groups of 5 images, none across classes")]
    command = "resnet-tf finetune '<data>' --run RUN"
    return Made(command, facts, history, "epoch 2", findings, "resnet18", "<data>", "weights.safetensors")


def written(report: Report, folder: Path) -> Path:
    """Writes the page and predictions.csv into a folder, and returns the path of the page."""
    from pipelines.report.page import render_page
    from pipelines.runs.files import write_csv, write_text

    write_csv(folder / "predictions.csv", report.predictions)
    write_text(folder / "report.html", render_page(report))
    return folder / "report.html"
