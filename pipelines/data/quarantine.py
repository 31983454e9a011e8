"""Moves the files that would damage training to another folder, with a list by which they can be moved back."""

import errno
import filecmp
import os
import shutil
from contextlib import suppress
from pathlib import Path, PurePosixPath

import pandas as pd

from pipelines.console.terminal import warn
from pipelines.data.find import ImageTable
from pipelines.data.near_identity import kept_of
from pipelines.data.walk import lies_in
from pipelines.runs.files import write_atomically, write_csv
from pipelines.runs.tables import read_table
from pipelines.runs.temporaries import remove_leftovers
from resnet_tf.errors import UserError

LIST = "quarantine.csv"
# A quarantine that moves a larger share of the readable images is asked for a second time.
MOST_OF_ALL, MOST_OF_A_CLASS = 1 / 4, 1 / 2


def check_quarantine(data: Path, folder: Path) -> None:
    """Checks that files can be moved to a quarantine, before any of them is inspected.

    Args:
        data: Folder that the files would be moved from.
        folder: Folder that they would be moved to.

    Raises:
        UserError: The files cannot be moved there.
    """
    if not data.is_dir():
        raise UserError(f"--quarantine moves files out of a folder, and {str(data)!r} is none; delete rows of a CSV")
    if lies_in(folder, os.path.realpath(data)):
        raise UserError(
            f"--quarantine {str(folder)!r} lies in {str(data)!r} and would be a class of it; choose another"
        )
    if (folder / LIST).exists():
        raise UserError(f"{str(folder)!r} holds files that were moved before; --undo them, or choose another folder")


def files_at_fault(images: pd.DataFrame) -> list[tuple[str, str]]:
    """Returns the paths of the files that would damage training, each with the reason.

    If a picture is in several splits, its copies in the test stay, or those in validation if the test has none, so
    that the results of earlier runs remain comparable. If a picture has several labels, no copy stays, because only a
    person knows which label is right.

    Args:
        images: Table of an `ImageTable`.
    """
    bad = images[~images["readable"]]
    faults = list(zip(bad["path"], bad["reason"], strict=True))
    for _, group in images[images["similar"] > 0].groupby("similar"):
        labels, splits = sorted(set(group["label"])), set(group["split"])
        if len(labels) > 1:
            faults += [(path, f"one picture in several classes: {', '.join(labels)}") for path in group["path"]]
        elif len(splits) > 1:
            stays = kept_of(group)
            others = group.loc[group["split"] != stays["split"], "path"]
            faults += [(path, f"the same picture as {stays['path']}") for path in others]
    return faults


def quarantine(table: ImageTable, folder: Path, most: bool = False) -> int:
    """Moves the files at fault to a folder, with their relative paths, after writing the list of all of them.

    Args:
        table: Facts about the images.
        folder: Folder to move the files to.
        most: Whether also most of a class, or more than a quarter of all readable images, may be moved.

    Returns:
        The number of files that were moved.

    Raises:
        UserError: Too much would be moved, and nothing is; or a file cannot be moved, and it and those after it stay
            where they are.
    """
    faults = _movable(table)
    if not faults:
        return 0
    if not most:
        _check_share(table.images, [path for path, _ in faults])
    rows = pd.DataFrame([(path, path, reason) for path, reason in faults], columns=["from", "to", "reason"])
    if (folder / LIST).exists():  # another process has begun meanwhile
        raise UserError(f"{str(folder)!r} holds files that were moved before; choose another folder")
    try:
        write_csv(folder / LIST, rows)
        for path, _ in faults:
            _check_within(table.root, path)
            _move(table.root / path, folder / path)
    except OSError as error:
        raise UserError(f"cannot move files to {str(folder)!r}: {error}; --undo brings back what was moved") from error
    return len(rows)


def _check_share(images: pd.DataFrame, paths: list[str]) -> None:
    """Checks that a quarantine leaves most of the images where they are; unreadable files are no loss."""
    readable = images[images["readable"]]
    moved = readable["path"].isin(paths)
    by_class = moved.groupby(readable["label"]).agg(["sum", "size"])
    emptied = by_class[by_class["sum"] > MOST_OF_A_CLASS * by_class["size"]]
    reason = ""
    if moved.sum() > MOST_OF_ALL * len(readable):
        reason = f"{moved.sum()} of {len(readable)} readable images"
    elif not emptied.empty:
        count, size = emptied.iloc[0]
        reason = f"{count} of the {size} readable images of the class {str(emptied.index[0])!r}"
    if reason:
        raise UserError(f"--quarantine would move {reason}, so nothing is moved; --quarantine-most moves them all")


def _movable(table: ImageTable) -> list[tuple[str, str]]:
    """Returns the files at fault that lie in the folder, each once: a link may lead to the place of another one."""
    real_root, outside = os.path.realpath(table.root), []
    kept: dict[str, tuple[str, str]] = {}
    for path, reason in files_at_fault(table.images):
        file = table.root / path
        if lies_in(file, real_root):
            kept.setdefault(os.path.join(os.path.realpath(file.parent), file.name), (path, reason))
        else:
            outside.append(path)
    if outside:
        warn(
            f"not moved: {len(outside)} files at fault that links lead to, out of {str(table.root)!r}, such as "
            f"{outside[0]!r}; remove the links"
        )
    return list(kept.values())


def undo_quarantine(data: Path, folder: Path) -> int:
    """Moves all files of a quarantine back to where they were, and removes it; can be repeated after an error.

    Args:
        data: Folder that the files came from.
        folder: Folder that `quarantine` moved them to.

    Returns:
        The number of files that were moved.

    Raises:
        UserError: There is no quarantine, or a file cannot be moved back. The list stays until all files are back.
    """
    if not data.is_dir():
        raise UserError(f"there is no folder {str(data)!r} to bring files back to")
    moves = _read_list(folder)
    moved = 0
    try:
        for source, target in moves:
            for root, path in ((data, source), (folder, target)):
                _check_within(root, path)
                remove_leftovers((root / path).parent)
            if not os.path.lexists(folder / target):  # it was never moved, or is back already
                continue
            if _is_same_file(folder / target, data / source):  # a copy to another file system was cut off at its end
                (folder / target).unlink()
            else:
                _move(folder / target, data / source)
            moved += 1
    except OSError as error:
        raise UserError(f"cannot move files back to {str(data)!r}: {error}; {moved} are back") from error
    lost = [source for source, _ in moves if not os.path.lexists(data / source)]
    if lost:
        raise UserError(f"{moved} files are back, but {len(lost)} are in neither place, such as {lost[0]!r}")
    (folder / LIST).unlink()
    _remove_empty_folders(folder)
    return moved


def _read_list(folder: Path) -> list[tuple[str, str]]:
    path = folder / LIST
    try:
        rows = read_table(path)
        moves = list(zip(rows["from"], rows["to"], strict=True))
    except OSError as error:
        raise UserError(f"there is no quarantine to undo in {str(folder)!r}: {error.strerror} ({path.name})") from error
    except (ValueError, KeyError) as error:
        raise UserError(f"{str(path)!r} is not the list of a quarantine: {error}") from error
    for name in (name for move in moves for name in move):
        parts = PurePosixPath(name).parts
        if PurePosixPath(name).is_absolute() or ".." in parts:
            raise UserError(f"{str(path)!r} names {name!r}, which leads out of the folder")
        if not parts or "\0" in name:
            raise UserError(f"{str(path)!r} names {name!r}, which is no file")
    return moves


def _move(source: Path, target: Path) -> None:
    """Moves a file, but never onto an existing one; across file systems, the source is removed after a full copy."""
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "File exists already", str(target))
    if source.is_dir() and not source.is_symlink():
        raise IsADirectoryError(errno.EISDIR, "A folder stands where a file was", str(source))
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target)
        _remove_source(source)


def _remove_source(source: Path) -> None:
    """Removes a file that was copied; a process that is killed before leaves both, which `undo_quarantine` knows."""
    source.unlink()


def _copy(source: Path, target: Path) -> None:
    if source.is_symlink():
        target.symlink_to(os.readlink(source))
        return
    write_atomically(target, lambda temporary: shutil.copyfile(source, temporary))
    shutil.copystat(source, target)
    with suppress(OSError):  # only root may give files away
        os.chown(target, source.stat().st_uid, source.stat().st_gid)


def _is_same_file(one: Path, other: Path) -> bool:
    """Returns whether two paths hold the same content, or the same link."""
    if not os.path.lexists(one) or not os.path.lexists(other) or one.is_symlink() != other.is_symlink():
        return False
    if one.is_symlink():
        return os.readlink(one) == os.readlink(other)
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def _check_within(root: Path, path: str) -> None:
    """Checks that no link on the way leads out of a folder."""
    if not lies_in((root / path).parent, os.path.realpath(root)):
        raise UserError(f"{path!r} is behind a link that leads out of {str(root)!r}; nothing is moved through it")


def _remove_empty_folders(folder: Path) -> None:
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()
    if not any(folder.iterdir()):
        folder.rmdir()
