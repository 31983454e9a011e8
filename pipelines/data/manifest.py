"""Makes the manifest of a folder or a CSV: one row per readable image, with its label and its split.

Columns: path (relative to the root, with "/"), label, split, width, height, orientation, decoder, sha256,
problems (codes joined by spaces), similar (number of a group of near-identical pictures, 0 for none), group (name of
the group that ties the image to others, "" for none), stored_values (of an image of more than 8 bits, see
`pipelines.data.value_range`; "" for all others).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd

from pipelines.config.shared import MAX_UNREADABLE, SPLITS
from pipelines.console.terminal import progress, say, warn
from pipelines.data.groups import name_groups, tied_units
from pipelines.data.inspect import inspect_images
from pipelines.data.similar import similar_groups
from pipelines.data.split import Fold, assign_splits
from resnet_tf.errors import UserError

COLUMNS = (
    *("path", "label", "split", "width", "height", "orientation", "decoder", "sha256", "problems"),
    *("similar", "group", "stored_values"),
)
_SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
# Columns that the first manifests lacked, with the value that they get when such a manifest is read.
_ADDED: dict[str, int | str] = {"similar": 0, "group": "", "stored_values": ""}
_NAMED = 10


@dataclass(frozen=True)
class ImageTable:
    """The facts about every file that DATA names, readable or not.

    Args:
        root: Folder that the paths are relative to.
        images: Table with the columns path, label, split and group ("" where the data do not say), readable, reason,
            similar, and those of `ImageFacts` except the thumbnail.
    """

    root: Path
    images: pd.DataFrame


def check_exists(data: str | Path) -> None:
    """Checks that DATA exists, before time is spent on anything else.

    Raises:
        UserError: It does not exist.
    """
    if not Path(data).exists():
        raise UserError(f"there is no folder or CSV {str(data)!r}")


def find_images(data: str | Path, flat: bool = False) -> tuple[Path, pd.DataFrame]:
    """Lists the files that DATA names, without opening them.

    Args:
        data: Folder with one sub-folder per class; folder with such folders named train/, val/ and test/; or CSV with
            the columns path,label[,split][,group], whose paths are relative to the CSV's folder.
        flat: Whether DATA may be a folder without sub-folders, whose name is then the class of all files.

    Returns:
        The root, and a table with path, label, split and group ("" where the data do not say), sorted by path.

    Raises:
        UserError: DATA is none of these, or a file name is not UTF-8.
    """
    check_exists(data)
    data = Path(data)
    if data.is_dir():
        root, rows = data, [(*row, "") for row in _folder_rows(data, flat)]
    else:
        root, rows = data.parent, _csv_rows(data)
    for path, *_ in rows:
        if not _is_unicode(path):
            raise UserError(f"the file name {path!r} is not UTF-8, and no manifest could hold it; rename the file")
    table = pd.DataFrame(rows, columns=["path", "label", "split", "group"]).astype(object)
    return root, table.sort_values("path", kind="stable", ignore_index=True)


def look_at_images(data: str | Path, flat: bool = False) -> ImageTable:
    """Opens every file that DATA names once and collects the facts; Args and Raises are those of `find_images`."""
    root, table = find_images(data, flat)
    paths = (root / path for path in table["path"])
    facts = inspect_images(paths, root, lambda results: progress(results, len(table), "looked at"))
    table["readable"] = [fact.readable for fact in facts]
    table["reason"] = [fact.reason for fact in facts]
    for column in ("width", "height", "orientation", "decoder", "sha256", "stored_values"):
        table[column] = [getattr(fact, column) for fact in facts]
    table["problems"] = [" ".join(fact.problems) for fact in facts]
    seen = [fact for fact in facts if fact.readable]
    table["similar"] = 0
    table.loc[table["readable"], "similar"] = similar_groups(
        [fact.thumbnail for fact in seen], [fact.sha256 for fact in seen]
    )
    return ImageTable(root, table)


def make_manifest(
    data: str | Path,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    group: str | None = None,
    fold: Fold | None = None,
) -> pd.DataFrame:
    """Inspects every image, leaves out unreadable ones, and assigns a split to each of the others.

    Args:
        data: Folder or CSV, see `find_images`.
        val_fraction: Share of the images for validation, if the data do not name the splits.
        test_fraction: Share of the images for the test, if the data do not name the splits.
        seed: Seed of the split.
        group: Regular expression for the name that ties images together, see `name_groups`.
        fold: Fold of a cross-validation that is the test, or None.

    Returns:
        The manifest.

    Raises:
        UserError: Too many files are unreadable, or a class has too few images.
    """
    images = look_at_images(data).images
    _leave_out_unreadable(images)
    readable = images[images["readable"]].reset_index(drop=True)
    _check_classes(images, readable)
    readable["group"] = name_groups(readable, group)
    units = tied_units(readable["similar"], readable["group"])
    given = readable["split"]
    readable["split"] = assign_splits(readable["label"], given, val_fraction, test_fraction, seed, units, fold)
    _say_ties(readable, units)
    return readable[list(COLUMNS)]


def load_manifest(path: Path | TextIO) -> pd.DataFrame:
    """Reads a manifest that `make_manifest` made and a run keeps.

    Raises:
        UserError: The file is not a table.
    """
    text = dict.fromkeys(("path", "label", "split", "decoder", "sha256", "problems", "group", "stored_values"), str)
    try:
        table = pd.read_csv(path, dtype=text, keep_default_na=False)
    except ValueError as error:
        raise UserError(f"{str(path)!r} is not a CSV table: {error}") from error
    for name, value in _ADDED.items():
        if name not in table:
            table[name] = value
    return table


def class_names(manifest: pd.DataFrame) -> list[str]:
    """Returns the classes in sorted order, which every matrix, column and export follows."""
    return sorted(manifest["label"].unique())


def label_numbers(rows: pd.DataFrame, classes: list[str]) -> np.ndarray:
    """Returns the label of each row as an index into the classes, int64 [rows].

    Raises:
        ValueError: A label is not one of the classes.
    """
    return rows["label"].map(classes.index).to_numpy()


def describe_data(manifest: pd.DataFrame) -> dict[str, object]:
    """Returns the description of the images that config.json contains."""
    return {
        "images": len(manifest),
        "splits": manifest["split"].value_counts().to_dict(),
        "fingerprint": fingerprint(manifest),
    }


def fingerprint(manifest: pd.DataFrame) -> str:
    """Returns a SHA-256 of every image's path, content, label and split; runs with the same value saw the same data."""
    digest = hashlib.sha256()
    for row in manifest[["path", "sha256", "label", "split"]].itertuples(index=False):
        digest.update("\0".join(row).encode() + b"\n")
    return digest.hexdigest()


def data_root(data: str | Path) -> Path:
    """Returns the folder that a manifest's paths are relative to."""
    data = Path(data)
    return data if data.is_dir() else data.parent


def _is_unicode(path: str) -> bool:
    """Returns whether a file name is UTF-8; Python keeps other bytes as lone surrogates, which cannot be written."""
    return path.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in path)


def _folder_rows(root: Path, flat: bool) -> list[tuple[str, str, str]]:
    folders = _sub_folders(root)
    if flat and not folders:
        return [(path, root.resolve().name, "") for path, _ in _class_rows(root, [root])]
    if not folders:
        raise UserError(f"{str(root)!r} has no sub-folders; it must have one per class, with the images in them")
    names = {folder.name for folder in folders}
    if "train" in names and names <= set(_SPLIT_FOLDERS):
        return [
            (path, label, _SPLIT_FOLDERS[split.name])
            for split in folders
            for path, label in _class_rows(root, _sub_folders(split))
        ]
    return [(path, label, "") for path, label in _class_rows(root, folders)]


def _class_rows(root: Path, folders: list[Path]) -> list[tuple[str, str]]:
    rows = []
    for folder in folders:
        files = [file for file in sorted(folder.rglob("*")) if _is_candidate(file, folder)]
        if not files:
            raise UserError(f"the class folder {str(folder)!r} has no files in it; remove it or add images")
        rows += [(file.relative_to(root).as_posix(), folder.name) for file in files]
    return rows


def _sub_folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_candidate(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return not hidden and not file.is_dir() and file.name not in ("Thumbs.db", "desktop.ini")


def _csv_rows(file: Path) -> list[tuple[str, str, str, str]]:
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{str(file)!r} is not a CSV table: {error}") from error
    for column in ("path", "label"):
        if column not in table:
            raise UserError(
                f"the CSV {str(file)!r} has no column {column!r}; it must have path,label[,split][,group], "
                f"it has {','.join(table.columns)}"
            )
    splits, groups = (table[name] if name in table else pd.Series("", index=table.index) for name in ("split", "group"))
    rows = []
    named = zip(table["path"], table["label"], splits, groups, strict=True)
    for line, (path, label, split, group) in enumerate(named, start=2):
        where = f"line {line} of {str(file)!r}"
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise UserError(f"{where}: the path {path!r} leads out of the CSV's folder")
        if not label.strip():
            raise UserError(f"{where}: the label is empty")
        if split not in ("", *SPLITS):
            raise UserError(f"{where}: the split must be train, val, test or empty, received {split!r}")
        rows.append((Path(path).as_posix(), label, split, group))
    duplicated = pd.Series([row[0] for row in rows], dtype=object)
    if duplicated.duplicated().any():
        raise UserError(f"{str(file)!r} names {duplicated[duplicated.duplicated()].iloc[0]!r} more than once")
    return rows


def _leave_out_unreadable(images: pd.DataFrame) -> None:
    bad = images[~images["readable"]]
    if bad.empty:
        return
    named = [f"{row.path} ({row.reason})" for row in bad.head(_NAMED).itertuples()]
    more = f", and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    empty = sorted(set(images["label"]) - set(images.loc[images["readable"], "label"]))
    if empty:
        example = bad[bad["label"] == empty[0]].iloc[0]
        raise UserError(
            f"the class {empty[0]!r} has no readable image: {example['path']} is {example['reason']}; "
            "remove the folder or mend its files"
        )
    if len(bad) > max(1, MAX_UNREADABLE * len(images)):
        raise UserError(
            f"{len(bad)} of {len(images)} files cannot be read, more than {MAX_UNREADABLE:.0%}: "
            f"{', '.join(named[:3])}{', …' if len(bad) > 3 else ''}; see `resnet-tf audit`"
        )
    say(f"left out, unreadable: {', '.join(named)}{more}")


def _check_classes(images: pd.DataFrame, readable: pd.DataFrame) -> None:
    classes = sorted(set(images["label"]))
    if len(classes) < 2:
        raise UserError(f"only one class, {classes[0]!r}; a classifier needs at least two")
    if readable.empty:
        raise UserError("not one of the files is a readable image")


def _say_ties(manifest: pd.DataFrame, units: np.ndarray) -> None:
    sizes = pd.Series(units).value_counts()
    tied = sizes[sizes > 1]
    if tied.empty:
        return
    divided = int(manifest.groupby(units)["split"].nunique().gt(1).sum())
    say(f"{len(tied)} groups of {int(tied.sum())} near-identical or tied images")
    if divided:
        warn(f"the splits that the data name divide {divided} of these groups; see `resnet-tf audit`")
