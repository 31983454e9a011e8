"""Writes files so that a reader never sees half of one, and reads them with clear errors."""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resnet_tf.errors import UserError

STANDARD_OUTPUT = Path("-")
# The prefix of the names of files that are being written.
WRITING = ".writing-"


def check_place(path: Path) -> None:
    """Checks that a file can be written, before anything is computed for it.

    Raises:
        UserError: Nothing can be written there, or it is a folder.
    """
    if path == STANDARD_OUTPUT:
        return
    if path.is_dir():
        raise UserError(f"{str(path)!r} is a folder; name a file")
    try_place(path.parent, repr(str(path)))


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
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_text(path: Path, text: str) -> None:
    """Writes text atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_csv(path: Path, table: Any, *, index: bool = False) -> None:
    """Writes a DataFrame as CSV, atomically."""
    write_atomically(path, lambda temporary: table.to_csv(temporary, index=index))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file beside `path`, flushes it to the disk, and renames it.

    The temporary name keeps the extension, since some writers choose their format by it. Where the path is "-", the
    file goes to standard output when it is complete.

    Raises:
        UserError: The disk is full, or nothing can be written there. An existing file at `path` is unchanged.
    """
    if path == STANDARD_OUTPUT:
        _write_to_standard_output(write)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=WRITING, suffix="".join(path.suffixes), dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            _flush(temporary)
            temporary.chmod(0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _flush(path.parent)  # otherwise a power cut could lose the new name
    except OSError as error:
        raise UserError(
            f"cannot write {str(path)!r}: {error.strerror or error}; nothing written before is lost"
        ) from error


def _write_to_standard_output(write: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "output"
        write(temporary)
        sys.stdout.flush()
        sys.stdout.buffer.write(temporary.read_bytes())
        sys.stdout.buffer.flush()


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
    beside = path.parent.glob(f"{path.name.removesuffix('.index')}.*")
    files = path.rglob("*") if path.is_dir() else beside
    digest = hashlib.sha256()
    for file in sorted(file for file in files if file.is_file()):
        digest.update(
            f"{file.relative_to(path if path.is_dir() else path.parent).as_posix()}\0{sha256(file)}\n".encode()
        )
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
