"""The models that are compared, with their answers to the same photos, which are told by their content."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.evaluation.predictions import probability_columns
from pipelines.runs.files import read_json
from pipelines.runs.tables import read_table
from resnet_tf.errors import UserError

PHOTOS = "photos.csv"
_TEXT = ("path", "label", "predicted", "decision", "sha256", "set")


@dataclass(frozen=True)
class Answered:
    """A model's answers, as an evaluation has written them.

    Args:
        name: Name of the model, in words.
        folder: Folder of the evaluation.
        classes: Names of the classes, in the order of the probabilities.
        table: Table with a row per photo: path, label, predicted, confidence, the probabilities, and sha256 and group
            ("" and a number of its own where nothing is known).
    """

    name: str
    folder: Path
    classes: list[str]
    table: pd.DataFrame

    @property
    def by_content(self) -> bool:
        """Whether the content of every photo is known."""
        return bool((self.table["sha256"] != "").all())


@dataclass(frozen=True)
class SamePhotos:
    """Several models' answers to the same photos.

    Args:
        classes: Names of the classes.
        labels: int [n], true class of each photo.
        groups: int [n], equal for photos that belong together.
        paths: Path of each photo, by the first model.
        probabilities: float [n, classes] of each model.
        note: What was left out, in words, or "".
    """

    classes: list[str]
    labels: np.ndarray
    groups: np.ndarray
    paths: list[str]
    probabilities: list[np.ndarray]
    note: str


def read_answers(name: str, folder: Path) -> Answered:
    """Reads the answers that an evaluation has written.

    Args:
        name: Name of the model, in words.
        folder: Folder of the evaluation.

    Raises:
        UserError: The files are missing, damaged, or do not belong together.
    """
    try:
        table = read_table(folder / "predictions.csv", _TEXT)
        classes = read_json(folder / "metrics.json")["classes"]
        probabilities = table[probability_columns(classes)].to_numpy(float)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{str(folder)!r} is no whole evaluation ({str(error).splitlines()[0]}); evaluate once more"
        ) from error
    if table.empty or not np.isfinite(probabilities).all() or not table["label"].isin(classes).all():
        raise UserError(f"{str(folder / 'predictions.csv')!r} is not what an evaluation writes; evaluate once more")
    photos = folder / PHOTOS
    known = read_table(photos, _TEXT) if photos.is_file() else pd.DataFrame({"path": table["path"]})
    if list(known["path"]) != list(table["path"]):
        raise UserError(f"{str(photos)!r} is of other photos than predictions.csv; evaluate once more")
    table["sha256"] = known.get("sha256", "")
    table["group"] = known["group"] if "group" in known else np.arange(len(table))
    return Answered(name, folder, classes, table)


def same_photos(sides: list[Answered]) -> SamePhotos:
    """Returns the answers to the photos that all models were evaluated on.

    Photos are the same if their content is, whatever their names; only where a model's photos are unknown, their paths
    count.

    Args:
        sides: Answers of at least two models.

    Raises:
        UserError: There are no such photos, the classes are others, or the labels of some photos are.
    """
    first = sides[0]
    for side in sides[1:]:
        if sorted(side.classes) != sorted(first.classes):
            odd = sorted(set(side.classes) ^ set(first.classes))
            raise UserError(
                f"{side.name} and {first.name} have different classes, such as {odd[0]!r}; only models of the same "
                "classes can be compared"
            )
    by_content = all(side.by_content for side in sides)
    keyed = [side.table.set_axis(_keys(side.table, by_content)) for side in sides]
    common = [key for key in keyed[0].index if all(key in table.index for table in keyed[1:])]
    if not common:
        how = "their content" if by_content else "their paths"
        raise UserError(f"{' and '.join(side.name for side in sides)} have no photo in common, by {how}")
    tables = [table.loc[common] for table in keyed]
    for side, table in zip(sides[1:], tables[1:], strict=True):
        differ = (table["label"] != tables[0]["label"]).to_numpy()
        if differ.any():
            raise UserError(
                f"{side.name} labels {int(differ.sum())} photos otherwise than {first.name}, such as "
                f"{tables[0]['path'].iloc[int(differ.argmax())]!r}; evaluate both with the same labels"
            )
    columns, most = probability_columns(first.classes), max(len(side.table) for side in sides)
    left_out = "" if len(common) == most else f"only the {len(common)} photos that all have, of up to {most}"
    by_path = "" if by_content else "photos are told by their paths, because the content of some is unknown"
    return SamePhotos(
        classes=first.classes,
        labels=pd.Index(first.classes).get_indexer(pd.Index(tables[0]["label"])),
        groups=np.unique(tables[0]["group"].to_numpy(), return_inverse=True)[1],
        paths=tables[0]["path"].tolist(),
        probabilities=[table[columns].to_numpy(float) for table in tables],
        note="; ".join(filter(None, [left_out, by_path])),
    )


def _keys(table: pd.DataFrame, by_content: bool) -> list[str]:
    """Returns what a photo is told by. Of identical files, the first is told from the second by its number."""
    seen: Counter[str] = Counter()
    keys = []
    for value in table["sha256" if by_content else "path"]:
        keys.append(f"{value} {seen[value]}")
        seen[value] += 1
    return keys
