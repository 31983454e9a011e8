"""What an evaluation is about: images whose classes are known, with what a model says of them."""

from collections import Counter
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.data.groups import tied_units
from pipelines.data.manifest import label_numbers
from resnet_tf.errors import UserError, without_middle

_NAMED = 5


@dataclass(frozen=True)
class Judged:
    """Images whose classes are known, with what a model says of them.

    Args:
        name: Name of the images, "test" or another one, which is also that of their folder of evaluation.
        classes: Names of the classes, in the order of the probabilities.
        rows: Table with a row per image and at least the columns path and label, which is one of the classes; where
            there are photos, also the other columns of a manifest.
        probabilities: float [n, classes].
        root: Folder that the paths are relative to; None where there are no photos.
        apart: Images whose class the model does not know, with the columns path, label, predicted and confidence. They
            are in no figure.
        notes: What a reader must know beside the figures, in sentences.
    """

    name: str
    classes: list[str]
    rows: pd.DataFrame
    probabilities: np.ndarray
    root: Path | None = None
    apart: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: tuple[str, ...] = ()

    @cached_property
    def labels(self) -> np.ndarray:
        """True class of each image, int [n]."""
        return label_numbers(self.rows, self.classes)

    @cached_property
    def groups(self) -> np.ndarray:
        """Numbers that are equal for images that belong together, int [n]."""
        similar, group = (self.rows.get(name, pd.Series([none] * len(self.rows))) for name, none in _TIES.items())
        return tied_units(similar.reset_index(drop=True), group.reset_index(drop=True))

    @property
    def paths(self) -> list[str]:
        """Path of each image."""
        return [str(path) for path in self.rows["path"]]


_TIES: dict[str, int | str] = {"similar": 0, "group": ""}


def photos_table(judged: Judged) -> pd.DataFrame:
    """Returns what photos are told by, with the columns path, sha256 ("" if there is no file) and group (a number that
    is equal for photos that belong together).
    """
    digests = judged.rows["sha256"].tolist() if "sha256" in judged.rows else ""
    return pd.DataFrame({"path": judged.paths, "sha256": digests, "group": judged.groups})


def unknown_apart(judged: Judged) -> Judged:
    """Moves the images whose class the model does not know out of the figures, and notes them.

    Args:
        judged: Images with any labels.

    Raises:
        UserError: The model knows none of the classes.
    """
    known = judged.rows["label"].isin(judged.classes).to_numpy()
    if known.all():
        return judged
    counts = Counter(judged.rows["label"][~known])
    named = "; ".join(_unknown_in_words(label, count, judged.classes) for label, count in counts.most_common(_NAMED))
    more = f"; and {len(counts) - _NAMED} more such classes" if len(counts) > _NAMED else ""
    said = f"the model does not know {len(counts)} of the classes: {named}{more}"
    if not known.any():
        raise UserError(f"{said}; no image is left to judge it by")
    found = judged.probabilities[~known]
    apart = pd.DataFrame(
        {
            "path": judged.rows["path"][~known].tolist(),
            "label": judged.rows["label"][~known].tolist(),
            "predicted": [judged.classes[number] for number in found.argmax(axis=1)],
            "confidence": found.max(axis=1),
        }
    )
    return replace(
        judged,
        rows=judged.rows[known].reset_index(drop=True),
        probabilities=judged.probabilities[known],
        apart=apart,
        notes=(*judged.notes, f"{said}. These {int((~known).sum())} images are in no figure, but in unknown.csv"),
    )


def _unknown_in_words(label: str, count: int, classes: list[str]) -> str:
    plain = {_plain(name): name for name in classes}
    close = get_close_matches(_plain(label), list(plain), n=1, cutoff=0.8)
    hint = f", perhaps {plain[close[0]]!r}" if close else ""
    return f"{without_middle(label, 40)!r} ({count} images{hint})"


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
