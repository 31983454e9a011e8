"""Makes the manifest of a folder or a CSV: one row per readable image, with its label and its split.

Columns: path (relative to the root, with "/"), label, split, width, height, orientation, decoder, sha256,
problems (codes joined by spaces), similar (number of a group of near-identical pictures, 0 for none), group (name of
the group that ties the image to others, "" for none), stored_values (of an image of more than 8 bits, see
`pipelines.data.value_range`; "" for all others).
"""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd

from pipelines.config.shared import MAX_UNREADABLE
from pipelines.console.terminal import progress, say, warn
from pipelines.data.find import ImageTable, find_images
from pipelines.data.groups import Ties, name_groups, tied_units
from pipelines.data.inspect import MISSING, ImageFacts, inspect_images
from pipelines.data.near_identity import ADVICE, apply_similar, similar_ties
from pipelines.data.similar import similar_groups
from pipelines.data.split import Fold, assign_splits
from pipelines.data.table import missing_advice
from pipelines.runs.tables import read_table
from resnet_tf.errors import UserError

COLUMNS = (
    *("path", "label", "split", "width", "height", "orientation", "decoder", "sha256", "problems"),
    *("similar", "group", "stored_values"),
)
# Columns that the first manifests lacked, with the value that they get when such a manifest is read.
_ADDED: dict[str, int | str] = {"similar": 0, "group": "", "stored_values": ""}
_NAMED = 10


def look_at_images(data: str | Path, flat: bool = False, follow_links: bool = False) -> ImageTable:
    """Lists the files that DATA names, inspects each, and adds the facts to the table; Args are those of `find_images`.

    Raises:
        UserError: `find_images` refuses DATA, or the machine cannot read the files.
    """
    found = find_images(data, flat, follow_links)
    root, table = found.root, found.images
    files = [root / path for path in table["path"]]
    there = [os.path.exists(file) for file in files]
    existing = (file for file, exists in zip(files, there, strict=True) if exists)
    looked = iter(
        inspect_images(existing, None if follow_links else root, lambda facts: progress(facts, sum(there), "looked at"))
    )
    facts = [next(looked) if exists else _missing(file) for file, exists in zip(files, there, strict=True)]
    table["readable"] = [fact.readable for fact in facts]
    table["reason"] = [fact.reason for fact in facts]
    for column in ("width", "height", "orientation", "decoder", "sha256", "stored_values"):
        table[column] = [getattr(fact, column) for fact in facts]
    table["problems"] = [" ".join(fact.problems) for fact in facts]
    readable = table["readable"]
    seen = [fact for fact, good in zip(facts, readable, strict=True) if good]
    table["similar"] = 0
    table.loc[readable, "similar"] = similar_groups([fact.thumbnail for fact in seen], [fact.sha256 for fact in seen])
    return found


def _missing(path: Path) -> ImageFacts:
    """Returns the facts about a file that a CSV or a link names, and that does not exist."""
    return ImageFacts(problems=(MISSING,), reason="a link to nothing" if os.path.islink(path) else "no such file")


def make_manifest(
    data: str | Path | ImageTable,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    ties: Ties = Ties(),  # noqa: B008 (it is frozen)
    fold: Fold | None = None,
    follow_links: bool = False,
) -> pd.DataFrame:
    """Inspects every image, leaves out unreadable ones, and assigns a split to each of the others.

    Args:
        data: Folder or CSV, see `find_images`; or what `look_at_images` has found there, which is not repeated.
        val_fraction: Share of the images for validation, if the data do not name the splits.
        test_fraction: Share of the images for the test, if the data do not name the splits.
        seed: Seed of the split.
        ties: What ties images together.
        fold: Fold of a cross-validation that is the test, or None.
        follow_links: Whether links that lead out of the folder are followed.

    Returns:
        The manifest.

    Raises:
        UserError: Too many files are unreadable, or a class has too few images.
    """
    table = data if isinstance(data, ImageTable) else look_at_images(data, follow_links=follow_links)
    images = table.images
    table.say()
    _leave_out_unreadable(images, table.data)
    readable = images[images["readable"]].reset_index(drop=True)
    _check_classes(images, readable)
    readable = apply_similar(readable, ties.similar)
    readable["group"] = name_groups(readable, ties.group)

    def divided(units: np.ndarray) -> pd.Series:
        given = readable["split"]
        return assign_splits(readable["label"], given, val_fraction, test_fraction, seed, units, fold)

    similar = similar_ties(readable, ties.similar)
    units = tied_units(similar, readable["group"])
    try:
        readable["split"] = divided(units)
    except UserError as error:
        if not similar.any() or not _can_divide(divided, tied_units(similar * 0, readable["group"])):
            raise
        raise UserError(f"{error}; near-identical pictures are the reason: {ADVICE}") from error
    _say_ties(readable, units)
    return readable[list(COLUMNS)]


def _can_divide(divided: Callable[[np.ndarray], pd.Series], units: np.ndarray) -> bool:
    with suppress(UserError):
        divided(units)
        return True
    return False


def load_manifest(path: Path | TextIO) -> pd.DataFrame:
    """Reads a manifest that `make_manifest` made and a run keeps.

    Raises:
        UserError: The file is not a table.
    """
    text = ("path", "label", "split", "decoder", "sha256", "problems", "group", "stored_values")
    try:
        table = read_table(path, text)
    except ValueError as error:
        raise UserError(f"{str(path)!r} is not a CSV table: {error}") from error
    missing = [name for name in COLUMNS if name not in table and name not in _ADDED]
    if missing:
        raise UserError(f"{str(path)!r} is no manifest of a run: it has no column {missing[0]!r}")
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
    numbers = pd.Index(classes).get_indexer(pd.Index(rows["label"]))
    if (numbers < 0).any():
        unknown = rows["label"].to_numpy()[numbers < 0][0]
        raise ValueError(f"{unknown!r} is none of the classes")
    return numbers.astype(np.int64)


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
    """Returns the folder that a manifest's paths are relative to: DATA itself, or the folder of a CSV.

    What is gone was a folder if its name has no ending. So a message names the folder that is missing.
    """
    data = Path(data)
    return data if data.is_dir() or not (data.exists() or data.suffix) else data.parent


def _leave_out_unreadable(images: pd.DataFrame, data: Path) -> None:
    bad = images[~images["readable"]]
    if bad.empty:
        return
    missing = bad["problems"] == MISSING
    advice = f"; {missing_advice(data)}" if missing.any() and not data.is_dir() else ""
    empty = sorted(set(images["label"]) - set(images.loc[images["readable"], "label"]))
    if empty:
        example = bad[bad["label"] == empty[0]].iloc[0]
        raise UserError(
            f"the class {empty[0]!r} has no readable image: {example['path']} is {example['reason']}{advice}; "
            f"remove the {'folder' if data.is_dir() else 'class'} or mend its files"
        )
    if len(bad) > max(1, MAX_UNREADABLE * len(images)):
        named = _named(bad, 3)
        if missing.all():
            raise UserError(
                f"{len(bad)} of {len(images)} files are missing, more than {MAX_UNREADABLE:.0%}: {named}{advice}; "
                "see `resnet-tf audit`"
            )
        raise UserError(
            f"{len(bad)} of {len(images)} files cannot be read, more than {MAX_UNREADABLE:.0%}: {named}; "
            "see `resnet-tf audit`"
        )
    for kind, rows in (("unreadable", bad[~missing]), ("missing", bad[missing])):
        if not rows.empty:
            more = f", and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
            say(f"left out, {kind}: {_named(rows, _NAMED).removesuffix(', …')}{more}")


def _named(rows: pd.DataFrame, count: int) -> str:
    """Returns the first files with the reasons why they cannot be used."""
    named = [f"{row.path} ({row.reason})" for row in rows.head(count).itertuples()]
    return ", ".join([*named, "…"] if len(rows) > count else named)


def _check_classes(images: pd.DataFrame, readable: pd.DataFrame) -> None:
    classes = sorted(set(images["label"]))
    if len(classes) < 2:
        raise UserError(f"only one class, {classes[0]!r}; a classifier needs at least two")
    if readable.empty:
        raise UserError("not one of the files is a readable image")


def _say_ties(manifest: pd.DataFrame, units: np.ndarray) -> None:
    named = manifest[manifest["group"] != ""]
    if not named.empty:
        say(f"{named['group'].nunique()} groups of {len(named)} images with a common name stay together")
    divided = int(manifest.groupby(units)["split"].nunique().gt(1).sum())
    if divided:
        warn(f"the splits that the data name divide {divided} groups of these; see `resnet-tf audit`")
