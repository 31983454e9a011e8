"""Finds the predictions of another program for the images of a run, by their paths."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.evaluation.predictions_file import PredictionsFile
from resnet_tf.errors import UserError


def in_order_of(classes: list[str], read: PredictionsFile, file: Path) -> np.ndarray:
    """Returns the file's probabilities in the order of the run's classes; 0 for classes that it does not have."""
    strange = [name for name in read.classes if name not in classes]
    if strange:
        raise UserError(
            f"{str(file)!r} has probabilities of {strange[0]!r}, which is none of the run's {len(classes)} classes; "
            "name the columns after the classes"
        )
    found = np.zeros((len(read.table), len(classes)))
    found[:, [classes.index(name) for name in read.classes]] = read.probabilities
    return found


def places_of(paths: pd.Series, root: Path, read: PredictionsFile, file: Path) -> np.ndarray:
    """Returns the row of the file that has the prediction of each image."""
    inside = {path_inside(path, root): place for place, path in enumerate(read.table["path"])}
    missing = [path for path in paths if path not in inside]
    if missing:
        raise UserError(
            f"{str(file)!r} has no prediction for {len(missing)} of {len(paths)} images, such as {missing[0]!r}; its "
            f"paths are like {read.table['path'].iloc[0]!r}, and must be relative to {str(root)!r}"
        )
    return np.array([inside[path] for path in paths])


def path_inside(path: str, root: Path) -> str:
    """Returns a path relative to a folder, with slashes; without any look at the disk."""
    plain = os.path.normpath(path.replace("\\", "/"))
    for folder in (root, root.resolve()):
        if os.path.isabs(plain) and plain.startswith(f"{folder.absolute()}/"):
            return os.path.relpath(plain, folder.absolute())
    return plain


def other_labels(rows: pd.DataFrame, root: Path, read: PredictionsFile, file: Path) -> tuple[str, ...]:
    """Returns what to know where a file of predictions labels some images otherwise than the run."""
    if "label" not in read.table:
        return ()
    given = dict(zip((path_inside(path, root) for path in read.table["path"]), read.table["label"], strict=True))
    return labelled_otherwise(rows, given, str(file))


def labelled_otherwise(rows: pd.DataFrame, given: Mapping[str, str], file: str) -> tuple[str, ...]:
    """Returns what to know where a file labels some images otherwise than the run.

    Args:
        rows: Rows of the run's manifest.
        given: Labels of the file, by the images' paths; some may be missing.
        file: Path of the file.
    """
    pairs = zip(rows["path"], rows["label"], strict=True)
    differ = [path for path, label in pairs if given.get(path, label) != label]
    if not differ:
        return ()
    return (f"{file!r} labels {len(differ)} images otherwise than the run, such as {differ[0]!r}; the run's count",)
