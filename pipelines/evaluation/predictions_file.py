"""Reads the predictions of any program from a CSV: a path, a label, and a probability for each class.

Columns of probabilities begin with "p:", as those that this project writes, or have the names of the classes. A table
with the predicted class alone is read as well.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.data.table import refuse_other_files
from pipelines.runs.tables import BYTES_OF_NAMES
from resnet_tf.errors import UserError, without_middle

# Names by which other programs call the same thing, in small letters.
_NAMES = {
    "path": ("path", "file", "filename", "file_name", "image", "image_path", "filepath", "file_path"),
    "label": ("label", "true", "truth", "target", "ground_truth", "true_label", "actual", "class"),
    "predicted": ("predicted", "prediction", "pred", "predicted_label", "predicted_class", "pred_label"),
    "confidence": ("confidence", "score", "probability", "prob"),
    "group": ("group",),
}
_OURS = ("decision", "set", "split")
_PREFIX = "p:"
MOST_BYTES = 4 << 30
# Sums of rounded probabilities of many classes are not exactly 1.
_TOLERANCE = 0.02


@dataclass(frozen=True)
class PredictionsFile:
    """Predictions of any program.

    Args:
        table: Table with the columns path and group, and label where the file has it.
        classes: Names of the classes, in the order of the probabilities.
        probabilities: float64 [n, classes]; the rows sum to 1.
        note: What a reader must know of the probabilities, or "".
    """

    table: pd.DataFrame
    classes: list[str]
    probabilities: np.ndarray
    note: str = ""


def read_predictions(file: Path) -> PredictionsFile:
    """Reads the predictions of any program.

    Args:
        file: CSV with one row per image.

    Raises:
        UserError: It is no such table, names an image twice, or its numbers are no probabilities.
    """
    content = _read(file)
    names = _known_columns([str(column) for column in content], file)
    if content.empty:
        raise UserError(f"{str(file)!r} has a header only; it must have one line per image")
    table = pd.DataFrame({"path": content[names["path"]].astype(str)})
    for name, none in (("label", None), ("group", "")):
        if name in names:
            table[name] = content[names[name]].astype(str)
        elif none is not None:
            table[name] = none
    _check_paths(table["path"], file)
    columns = _probability_columns(content, names)
    if columns:
        return PredictionsFile(
            table, list(columns.values()), _probabilities(content[list(columns)], table["path"], file)
        )
    if "predicted" not in names:
        raise UserError(
            f"{str(file)!r} has neither a column of probabilities for each class, such as 'p:ant', nor one 'predicted'"
        )
    return _of_winners(content, names, table, file)


def _read(file: Path) -> pd.DataFrame:
    refuse_other_files(file, "--predictions takes a CSV with the columns path, label, and one per class")
    if file.stat().st_size > MOST_BYTES:
        raise UserError(f"{str(file)!r} has more than {MOST_BYTES >> 30} GiB; divide it")
    text = dict.fromkeys((name for names in _NAMES.values() for name in names if name not in _NAMES["confidence"]), str)
    try:
        header = pd.read_csv(file, nrows=0, encoding_errors=BYTES_OF_NAMES)
        kinds = {name: str for name in header if str(name).strip().casefold() in text or name in _OURS}
        content = pd.read_csv(file, dtype=kinds, keep_default_na=False, na_values=[], encoding_errors=BYTES_OF_NAMES)
        return content.rename(columns=str)
    except (ValueError, OSError) as error:  # pandas's ParserError is a ValueError
        raise UserError(f"{str(file)!r} is not a CSV table: {str(error).splitlines()[0]}") from error


def _known_columns(columns: list[str], file: Path) -> dict[str, str]:
    """Returns the names that the file has for what this project calls path, label, predicted, confidence and group."""
    found = {}
    plain = {str(column).strip().casefold(): column for column in columns}
    for name, others in _NAMES.items():
        here = next((plain[other] for other in others if other in plain), None)
        if here is not None:
            found[name] = here
    if "path" not in found:
        shown = ", ".join(repr(without_middle(str(column), 30)) for column in columns[:6])
        raise UserError(f"{str(file)!r} has no column 'path' with the images' names; its columns are {shown}")
    return found


def _check_paths(paths: pd.Series, file: Path) -> None:
    twice = [path for path, times in Counter(paths).items() if times > 1]
    if twice:
        raise UserError(f"{str(file)!r} names {twice[0]!r} more than once; keep one prediction of each image")


def _probability_columns(content: pd.DataFrame, names: dict[str, str]) -> dict[str, str]:
    """Returns the names of the classes by their columns; none where the table has no probabilities."""
    columns = [str(column) for column in content]
    marked = {column: column.removeprefix(_PREFIX) for column in columns if column.startswith(_PREFIX)}
    if marked:
        return marked
    others = [column for column in columns if column not in names.values() and column not in _OURS]
    numbers = [column for column in others if pd.api.types.is_numeric_dtype(content[column])]
    known = {str(value) for name in ("label", "predicted") if name in names for value in content[names[name]].unique()}
    stripped = {column: column.strip() for column in numbers}
    of_classes = {column: name for column, name in stripped.items() if name in known}
    if len(of_classes) < 2:
        return {}
    values = content[numbers].to_numpy(float)
    all_of_them = np.abs(values.sum(axis=1) - 1.0).max() <= _TOLERANCE  # classes without an image among them
    return stripped if all_of_them else of_classes


def _probabilities(content: pd.DataFrame, paths: pd.Series, file: Path) -> np.ndarray:
    try:
        values = content.to_numpy(np.float64)
    except ValueError as error:
        raise UserError(f"{str(file)!r} has probabilities that are no numbers: {error}") from error
    if len(set(content.columns)) < 2:
        raise UserError(f"{str(file)!r} has probabilities of one class only; it must have a column for each class")
    with np.errstate(invalid="ignore"):
        sums = values.sum(axis=1)
        wrong = ~((values >= 0.0).all(axis=1) & (np.abs(sums - 1.0) <= _TOLERANCE))
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        raise UserError(
            f"the probabilities of {paths.iloc[place]!r} in {str(file)!r} are not from 0 to 1 with the sum 1, but sum "
            f"to {sums[place]:.4g}; {int(wrong.sum())} of {len(values)} rows are like that. Logits have to go "
            "through a softmax first"
        )
    return values / sums[:, None]


def _of_winners(content: pd.DataFrame, names: dict[str, str], table: pd.DataFrame, file: Path) -> PredictionsFile:
    """Returns probabilities of predicted classes alone: what is not on the predicted one is spread over the others."""
    winners = content[names["predicted"]].astype(str)
    classes = sorted({*winners, *table.get("label", ())})
    if len(classes) < 2:
        raise UserError(f"{str(file)!r} has only one class, {classes[0]!r}; there is nothing to judge")
    confidence, note = (
        np.ones(len(table)),
        "the file has no probabilities: log loss, calibration and refusing say nothing",
    )
    if "confidence" in names:
        try:
            confidence = content[names["confidence"]].to_numpy(np.float64)
        except ValueError as error:
            raise UserError(f"the column {names['confidence']!r} of {str(file)!r} is no number: {error}") from error
        note = "the file has one probability per image; the rest is spread evenly over the other classes"
        if not ((confidence >= 0.0) & (confidence <= 1.0)).all():
            raise UserError(f"the column {names['confidence']!r} of {str(file)!r} must be from 0 to 1")
    rest = (1.0 - confidence) / (len(classes) - 1)
    found = np.repeat(rest[:, None], len(classes), axis=1)
    found[np.arange(len(table)), pd.Index(classes).get_indexer(pd.Index(winners))] = confidence
    return PredictionsFile(table, classes, found, note)
