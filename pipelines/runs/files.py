"""Writes files so that a reader never sees half of one, and reads them with clear errors."""

import errno
import hashlib
import json
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines.console.streams import is_lost, write_to_standard_output
from pipelines.runs.places import Place, place_of
from pipelines.runs.tables import BYTES_OF_NAMES, write_table
from pipelines.runs.temporaries import remove_leftovers, temporary_file
from resnet_tf.errors import UserError

_NOTHING_LOST = "nothing written before is lost"


def check_place(path: Path) -> None:
    """Checks that a file can be written, before anything is computed for it, and removes what a killed process left.

    Raises:
        UserError: Nothing can be written there, or it is a folder.
    """
    try:
        place = place_of(path)
        if place.descriptor is not None:
            if place.descriptor == 1 and is_lost(sys.stdout):
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            os.fstat(place.descriptor)
            return
        _check_kind(place.path)
        if not place.through:
            try_place(place.path.parent, repr(str(path)))
            remove_leftovers(place.path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error


def try_place(place: Path, name: str) -> None:
    while not place.exists():
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UserError(f"cannot write {name}: {error.strerror} ({str(place)!r})") from error


def read_json(path: Path) -> Any:
    """Returns the content of a JSON file.

    Raises:
        UserError: The file cannot be read, or it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{str(path)!r} is not JSON: {error}") from error


def write_json(path: Path, content: Any) -> None:
    """Writes JSON atomically."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # Bytes of a name that are not UTF-8 become JSON's own escapes.
    write_atomically(path, lambda temporary: temporary.write_bytes(text.encode(errors="backslashreplace")))


def write_text(path: Path, text: str) -> None:
    """Writes text atomically."""
    write_atomically(path, lambda temporary: temporary.write_bytes(text.encode(errors=BYTES_OF_NAMES)))


def write_csv(path: Path, table: Any, *, index: bool = False) -> None:
    """Writes a DataFrame as CSV, atomically. `pipelines.runs.tables.read_table` reads it."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", errors=BYTES_OF_NAMES, newline="") as file:
            write_table(table, file, index=index)

    write_atomically(path, write)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file beside `path`, flushes it to the disk, and renames it.

    An existing file keeps its mode and, where this is allowed, its owner; a link keeps pointing, and its target is
    replaced. What exists and is no file, such as a device or a pipe, is written through when the content is complete;
    so is standard output, where the path is "-".

    Args:
        path: Path of the file. The temporary file has the same ending, since some writers choose their format by it.
        write: Function that fills the file of the path that it is given.

    Raises:
        UserError: The disk is full, or nothing can be written there. An existing file at `path` is unchanged.
    """
    try:
        place = place_of(path)
        if place.through or place.descriptor is not None:
            _write_through(place, write)
        else:
            _replace(place.path, write)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    _check_kind(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_file(path) as temporary:
        write(temporary)
        _flush(temporary)
        _take_over(path, temporary)
        os.replace(temporary, path)
    with suppress(OSError):  # some folders can be written and not be opened
        _flush(path.parent)  # otherwise a power cut could lose the new name


def _check_kind(path: Path) -> None:
    if path.is_dir():
        raise UserError(f"{str(path)!r} is a folder; name a file")
    if path.exists() and not os.access(path, os.W_OK):
        raise UserError(f"{str(path)!r} is read-only; name another file, or make it writable")


def _take_over(path: Path, temporary: Path) -> None:
    """Gives the temporary file the mode and the owner of the file that it replaces, or those of a new file."""
    if not path.exists():
        temporary.chmod(0o666 & ~_umask())
        return
    before = path.stat()
    with suppress(OSError):  # only root may give files away
        os.chown(temporary, before.st_uid, before.st_gid)
    temporary.chmod(stat.S_IMODE(before.st_mode))


def _write_through(place: Place, write: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / f"output{place.path.suffix}"
        write(temporary)
        content = temporary.read_bytes()
    if place.descriptor == 1:
        write_to_standard_output(content)
        return
    # Without O_CREAT, since it exists.
    handle = os.open(place.path, os.O_WRONLY) if place.descriptor is None else os.dup(place.descriptor)
    with os.fdopen(handle, "wb") as output:
        output.write(content)


def _cannot_write(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot write {str(path)!r}: {error.strerror or error}; {_NOTHING_LOST}")


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint_of(path: Path) -> str:
    """Returns the SHA-256 of weights, in hexadecimal.

    For a SavedModel's folder or a TensorFlow checkpoint, it is the hash of a list with the name and the SHA-256 of
    each file.
    """
    if path.is_file() and path.suffix != ".index":
        return sha256(path)
    if path.is_dir():
        folder, files = path, path.rglob("*")
    else:
        folder, files = path.parent, path.parent.glob(f"{path.name.removesuffix('.index')}.*")
    digest = hashlib.sha256()
    for file in sorted(file for file in files if file.is_file()):
        digest.update(f"{file.relative_to(folder).as_posix()}\0{sha256(file)}\n".encode())
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
