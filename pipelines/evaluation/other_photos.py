"""Labelled photos beside those of a run: a folder or a CSV of new ones, or those that a table of predictions names."""

import os
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.console.terminal import say
from pipelines.data.inspect import inspect_images
from pipelines.data.manifest import look_at_images
from pipelines.evaluation.integrity import load_run_manifest
from pipelines.evaluation.matching import path_inside
from pipelines.runs.directory import Run
from resnet_tf.errors import UserError

_FACTS = ["width", "height", "orientation", "decoder", "sha256", "stored_values"]


def find_photos(data: str, split: str) -> dict[str, Any]:
    """Looks at labelled photos that no run has seen.

    Args:
        data: Folder or CSV.
        split: Split to take if the data name splits; otherwise all photos are taken.

    Returns:
        "rows", the columns of a manifest for the readable ones; "root"; and "notes".
    """
    found = look_at_images(data, flat=True)
    found.say()
    images = found.images
    readable, notes = images[images["readable"]], []
    if readable.empty:
        raise UserError(f"not one of the {len(images)} files in {data!r} is a readable image")
    if len(readable) < len(images):
        bad, bad_ones = images[~images["readable"]].iloc[0], len(images) - len(readable)
        notes.append(f"{bad_ones} files are no readable images, such as {bad['path']}: {bad['reason']}")
    splits = set(readable["split"]) - {""}
    if split in splits:
        readable = readable[readable["split"] == split]
        notes.append(f"these are the images that {data!r} has for {split!r}")
    for note in notes:
        say(note)
    return {
        "rows": readable[["path", "label", "group", "similar", *_FACTS]].to_dict("list"),
        "root": str(found.root),
        "notes": notes,
    }


def known_photos(rows: pd.DataFrame, run: Run) -> list[str]:
    """Returns a warning if the model has learned from some of the photos."""
    manifest = load_run_manifest(run)
    learned = set(manifest.loc[manifest["split"].isin(["train", "val"]), "sha256"]) - {""}
    known = rows["sha256"].isin(learned)
    if not known.any():
        return []
    example, count = rows.loc[known, "path"].iloc[0], int(known.sum())
    return [f"warning: {count} of these photos are among those that the run was made from, such as {example!r}"]


def with_photos(table: pd.DataFrame, root: Path) -> tuple[pd.DataFrame, bool]:
    """Adds the facts of the photos to a table of predictions if all of them lie in the folder of the file."""
    real = os.path.realpath(root)
    plain = [path_inside(path, root) for path in table["path"]]
    files = [root / path for path in plain]
    if any(os.path.isabs(path) or path.startswith("..") for path in plain):
        return table, False
    if not all(file.is_file() and os.path.realpath(file).startswith(f"{real}/") for file in files):
        return table, False
    facts = list(inspect_images(files, root, lambda looked: looked))
    if not all(fact.readable for fact in facts):
        return table, False
    seen = table.assign(path=plain)
    for name in _FACTS:
        seen[name] = [getattr(fact, name) for fact in facts]
    return seen, True
