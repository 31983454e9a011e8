"""The files that a command line names: files, folders and globs, and which of them are images."""

import glob
import os
from pathlib import Path

import pandas as pd

from pipelines.console.terminal import progress, say
from pipelines.data.inspect import inspect_images
from pipelines.data.system_files import is_system_name
from pipelines.data.walk import walk
from resnet_tf.errors import UserError


def expand(pattern: str, follow_links: bool = False) -> list[Path]:
    """Returns the files that a file name, a folder (all files in it, at any depth) or a glob stands for.

    What is skipped in a folder is said: the same as in DATA of the other verbs. A file that is named is taken, whatever
    its name is.

    Args:
        pattern: File name, folder or glob.
        follow_links: Whether links that lead out of a folder are followed.

    Raises:
        UserError: There are no such files, or a folder cannot be read.
    """
    if not pattern:
        raise UserError("a path of an image must not be empty")
    path = Path(pattern)
    if os.path.isdir(path):
        folder, skipped = walk(path, follow_links)
        files, left_out = sorted(folder.all_files()), skipped.lines()
        for line in left_out:
            say(line)
    elif os.path.isfile(path):
        return [path]
    else:
        files, left_out = _matched(pattern), []
    if not files:
        more = f" ({'; '.join(left_out)})" if left_out else ""
        raise UserError(f"no file is named or matched by {pattern!r}{more}")
    return files


def _matched(pattern: str) -> list[Path]:
    """The files that a glob matches, but for those that systems leave; they are counted."""
    matched = sorted(file for file in map(Path, glob.iglob(pattern, recursive=True)) if os.path.isfile(file))
    files = [file for file in matched if not is_system_name(file.name)]
    if len(files) < len(matched):
        say(f"skipped: {len(matched) - len(files)} system or hidden files that {pattern!r} matches")
    return files


def readable_rows(files: list[Path], label: str = "") -> tuple[pd.DataFrame, list[tuple[Path, str]]]:
    """Returns what a stream needs to know of the files that are images, and the others with the reasons.

    Args:
        files: Files to inspect.
        label: Label of the progress bar; nothing is shown without.
    """
    rows, unreadable = [], []
    looked = inspect_images(files, None, lambda found: progress(found, len(files), label))
    for file, facts in zip(files, looked, strict=True):
        if facts.readable:
            rows.append((str(file), "", facts.decoder, facts.orientation, facts.stored_values))
        else:
            unreadable.append((file, facts.reason))
    return pd.DataFrame(rows, columns=["path", "label", "decoder", "orientation", "stored_values"]), unreadable
