"""Finds out what DATA is, a folder or a CSV, and lists the files that it names, without opening them."""

import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipelines.console.terminal import say, warn
from pipelines.data.classes import ClassFinding
from pipelines.data.layout import understand
from pipelines.data.table import table_rows
from pipelines.data.walk import walk
from resnet_tf.errors import UserError, without_middle

_CLASSES_SHOWN, _NAME_CHARACTERS = 10, 40


@dataclass(frozen=True)
class ImageTable:
    """The files that DATA names, readable or not.

    Args:
        data: The folder or the CSV that was named.
        root: Folder that the paths are relative to.
        images: Table with the columns path, label, split and group ("" where the data do not say), sorted by path.
            `pipelines.data.manifest.look_at_images` adds readable, reason, similar, and the columns of `ImageFacts`
            except the thumbnail.
        notes: What was left out or assumed, in sentences.
        doubts: Folders that may have been misunderstood.
    """

    data: Path
    root: Path
    images: pd.DataFrame
    notes: tuple[str, ...]
    doubts: tuple[ClassFinding, ...]

    def say(self) -> None:
        """Says what DATA was understood as: what was left out, what is in doubt, and the names of the classes."""
        for note in self.notes:
            say(note)
        for doubt in self.doubts:
            warn(f"class {doubt.label!r}: {doubt.reason}")
        say(classes_in_words(self.images["label"]))


def check_exists(data: str | Path) -> None:
    """Checks that DATA exists, before time is spent on anything else.

    Raises:
        UserError: It does not exist, or cannot be looked at.
    """
    if not str(data):
        raise UserError("DATA is empty; name a folder or a CSV")
    try:
        os.stat(data)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"there is no folder or CSV {str(data)!r}") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot look at DATA {str(data)!r}: {why}; name a folder or a CSV") from error


def find_images(data: str | Path, flat: bool = False, follow_links: bool = False) -> ImageTable:
    """Lists the files that DATA names, without opening them.

    Args:
        data: Folder with one sub-folder per class; folder with such folders for training, validation and test; or CSV
            with the columns path,label[,split][,group], whose paths are relative to the CSV's folder.
        flat: Whether DATA may be a folder without sub-folders, whose name is then the class of all files.
        follow_links: Whether links that lead out of the folder are followed.

    Raises:
        UserError: DATA is none of these, or a file name is not UTF-8.
    """
    check_exists(data)
    data = Path(data)
    notes: list[str] = []
    doubts: list[ClassFinding] = []
    if data.is_dir():
        folder, skipped = walk(data, follow_links)
        layout = understand(folder, skipped, flat)
        root, rows = data, [(*row, "") for row in layout.rows]
        notes, doubts = [*skipped.lines(), *layout.notes], layout.doubts
    else:
        root, rows = data.parent, table_rows(data)
    for path, *_ in rows:
        if not _is_unicode(path):
            raise UserError(f"the file name {path!r} is not UTF-8, and no manifest could hold it; rename the file")
    notes += _merged_labels({row[1] for row in rows})
    table = pd.DataFrame(rows, columns=["path", "label", "split", "group"]).astype(object)
    table["label"] = table["label"].map(composed)
    images = table.sort_values("path", kind="stable", ignore_index=True)
    return ImageTable(data, root, images, tuple(notes), tuple(doubts))


def classes_in_words(labels: Iterable[str]) -> str:
    """Returns the number of the classes, and the names of the first of them."""
    names = sorted(set(labels))
    shown = ", ".join(printable(without_middle(name, _NAME_CHARACTERS)) for name in names[:_CLASSES_SHOWN])
    more = f", and {len(names) - _CLASSES_SHOWN} more" if len(names) > _CLASSES_SHOWN else ""
    return f"{len(names)} {'class' if len(names) == 1 else 'classes'}: {shown}{more}"


def printable(name: str) -> str:
    """Returns a name, in quotes and escaped where a terminal could take it for something else."""
    return name if name.isprintable() and name == name.strip() else repr(name)


def composed(name: str) -> str:
    """Returns a name in Unicode's composed form (NFC): macOS writes é as two characters where others write one."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _merged_labels(labels: set[str]) -> list[str]:
    several: dict[str, int] = {}
    for label in labels:
        several[composed(label)] = several.get(composed(label), 0) + 1
    return [
        f"{count} names that look the same, {name!r}, are one class; they differ in how accents are encoded"
        for name, count in sorted(several.items())
        if count > 1
    ]


def _is_unicode(path: str) -> bool:
    """Returns whether a file name is UTF-8; Python keeps other bytes as lone surrogates, which cannot be written."""
    return path.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in path)
