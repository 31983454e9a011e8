"""Unpacks somebody's archive of photos: only files, only below one folder, and no more than a disk can hold."""

import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from pipelines.console.terminal import progress_bar, say
from pipelines.data.system_files import is_system_name
from pipelines.runs.files import fingerprint_of
from pipelines.runs.temporaries import temporary_folder
from resnet_tf.errors import UserError

# Judgements: far more than anyone's photos, far less than what would fill a disk with empty files.
MOST_BYTES, MOST_FILES = 200 * 2**30, 1_000_000
_LEFT_FREE = 2 * 2**30  # bytes for the training
# DEFLATE cannot do more than 1032 : 1; photos, which are compressed already, hardly shrink at all.
_MOST_SHRUNK, _CHUNK = 200, 2**20
_MARK = ".archive"  # a hidden file in the unpacked folder, with the fingerprint of the archive
_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, ValueError, RuntimeError, NotImplementedError),
)


@dataclass(frozen=True)
class Member:
    """One entry of an archive.

    Args:
        name: Its path, as the archive has it.
        bytes: Its size when it is unpacked.
        regular: Whether it is a file; links, devices and folders are none.
    """

    name: str
    bytes: int
    regular: bool


def is_archive(path: Path) -> bool:
    """Returns whether a file is a zip or a tar, by its content."""
    try:
        return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))
    except OSError:
        return False


def unpack(archive: Path, folder: Path) -> Path:
    """Unpacks all files of an archive into a new folder, which appears when it is complete.

    Links and devices are left out and counted, and so is what systems leave, such as `__MACOSX`.

    Args:
        archive: A zip or a tar, compressed or not.
        folder: Folder to make.

    Returns:
        The folder of the classes or splits: `folder`, or the only folder in it.

    Raises:
        UserError: The folder exists, the archive is damaged or encrypted, a path leads out of the folder, or it holds
            more than `MOST_FILES` files, `MOST_BYTES` bytes, or what the disk has room for.
    """
    if folder.exists():
        raise UserError(f"{str(folder)!r} exists; choose another --run")
    folder.parent.mkdir(parents=True, exist_ok=True)
    room = min(MOST_BYTES, max(0, shutil.disk_usage(folder.parent).free - _LEFT_FREE))
    with temporary_folder(folder.parent) as temporary:
        inside = temporary / "photos"
        inside.mkdir()
        try:
            done, left_out = _unpack_all(archive, inside, room)
        except UserError:
            raise
        except _DAMAGED as error:
            raise UserError(f"cannot unpack {str(archive)!r}: {str(error) or type(error).__name__}") from error
        if not done:
            raise UserError(f"{str(archive)!r} holds no files")
        (inside / _MARK).write_text(fingerprint_of(archive), encoding="utf-8")
        inside.rename(folder)
    skipped = f"; left out: {left_out}, since links, devices and system files are no photos" if left_out else ""
    say(f"unpacked {archive.name}: {done} files into {folder}{skipped}")
    return _only_folder(folder)


def unpacked_from(folder: Path, archive: Path) -> bool:
    """Returns whether a folder, or one above it, is what `unpack` has made of an archive."""
    marks = [above / _MARK for above in (folder, *folder.parents) if (above / _MARK).is_file()]
    return bool(marks) and marks[0].read_text(encoding="utf-8") == fingerprint_of(archive)


def _unpack_all(archive: Path, folder: Path, room: int) -> tuple[int, int]:
    """Writes all files; returns their number, and the number of what was left out."""
    done, left_out, written = 0, 0, 0
    with progress_bar(None, f"unpacking {archive.name}", "file") as bar:
        for member, content in _members(archive, room):
            path = _checked_path(member.name, archive)
            if not member.regular or any(map(is_system_name, path.parts)):
                left_out += 1
                continue
            if (done := done + 1) > MOST_FILES:
                raise UserError(f"{str(archive)!r} holds more than {MOST_FILES} files; unpack it yourself")
            written += _copy(content, folder / path, room - written, archive)
            bar.update()
    return done, left_out


def _members(archive: Path, room: int) -> Iterator[tuple[Member, IO[bytes]]]:
    """Yields every entry but the folders, with its content, which can be read until the next one is asked for."""
    if zipfile.is_zipfile(archive):
        yield from _of_zip(archive, room)
    else:
        yield from _of_tar(archive, room)


def _of_zip(archive: Path, room: int) -> Iterator[tuple[Member, IO[bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        entries = [entry for entry in opened.infolist() if not entry.is_dir()]
        total, packed = sum(entry.file_size for entry in entries), sum(entry.compress_size for entry in entries)
        _check_room(archive, total, room)
        if total > _MOST_SHRUNK * max(packed, 2**20):
            raise UserError(f"{str(archive)!r} grows more than {_MOST_SHRUNK} times; photos do not; unpack it yourself")
        for entry in entries:
            kind = stat.S_IFMT(entry.external_attr >> 16)
            member = Member(entry.filename, entry.file_size, kind in (0, stat.S_IFREG))
            with opened.open(entry) as content:
                yield member, content


def _of_tar(archive: Path, room: int) -> Iterator[tuple[Member, IO[bytes]]]:
    seen = 0
    with tarfile.open(archive) as opened:
        for entry in opened:
            seen += entry.size
            _check_room(archive, seen, room)  # what is skipped is decompressed, too
            if entry.isdir():
                continue
            content = opened.extractfile(entry) if entry.isreg() else None
            yield Member(entry.name, entry.size, content is not None), content  # type: ignore[misc]


def _check_room(archive: Path, wanted: int, room: int) -> None:
    if wanted > room:
        raise UserError(
            f"{str(archive)!r} needs {wanted / 1e6:,.0f} MB when it is unpacked, and there is room for "
            f"{room / 1e6:,.0f} MB"
        )


def _checked_path(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    outside = path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name) or "\0" in name
    if outside or not path.parts:
        raise UserError(f"{str(archive)!r} has a path that leads out of its folder, {name!r}; nothing is unpacked")
    return path


def _copy(content: IO[bytes], target: Path, room: int, archive: Path) -> int:
    """Writes a file and returns its size, which may differ from what the archive says."""
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with target.open("xb") as file:
        while chunk := content.read(_CHUNK):
            size += len(chunk)
            _check_room(archive, size, room)
            file.write(chunk)
    return size


def _only_folder(folder: Path) -> Path:
    """Returns the folder that holds something else than one folder of folders."""
    entries = [entry for entry in folder.iterdir() if entry.name != _MARK]
    if len(entries) == 1 and entries[0].is_dir() and any(each.is_dir() for each in entries[0].iterdir()):
        return _only_folder(entries[0])
    return folder
