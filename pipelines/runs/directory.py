"""The run directory: its file names, and writing them so that a reader never sees half a file."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_tf.errors import UserError
from resnet_tf.recursion import deep_recursion

# How the names of files begin that are being written.
WRITING = ".writing-"


@dataclass(frozen=True)
class Run:
    """The names of all files of one run. Creates and reads nothing by itself.

    Args:
        path: The directory.
        writable: Whether this process may write there; of several workers only the chief may.
    """

    path: Path
    writable: bool = True

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def classes(self) -> Path:
        return self.path / "classes.json"

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.csv"

    @property
    def history(self) -> Path:
        return self.path / "history.csv"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    @property
    def lock(self) -> Path:
        return self.path / ".lock"

    @property
    def model(self) -> Path:
        return self.path / "model.keras"

    @property
    def saved_model(self) -> Path:
        return self.path / "export" / "saved_model" / "1"

    @property
    def export_report(self) -> Path:
        return self.path / "export" / "export.json"

    @property
    def of_model(self) -> tuple[Path, ...]:
        """What whoever uses the model needs of a finished run."""
        return self.config, self.classes, self.manifest, self.model

    def evaluation(self, split: str) -> Path:
        return self.path / "evaluation" / split


def check_writable(run: Run) -> None:
    """Tries the place of a run before anything is computed; leaves nothing behind.

    Raises:
        UserError: Nothing can be written there.
    """
    _try_place(run.path, f"the run {str(run.path)!r}")


def check_place(path: Path) -> None:
    """Likewise for a file that is the only result of a command.

    Raises:
        UserError: Nothing can be written there, or it is a folder.
    """
    if path.is_dir():
        raise UserError(f"{str(path)!r} is a folder; name a file")
    _try_place(path.parent, repr(str(path)))


def _try_place(place: Path, name: str) -> None:
    while not place.exists():
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UserError(f"cannot write {name}: {error.strerror} ({str(place)!r})") from error


def foreign_files(run: Run, *own: Path) -> list[str]:
    """What stands in the directory of a run that has no config.json, and is not of it.

    Args:
        run: Need not exist.
        own: What a process may have written before it was killed; its lock and half-written files are so anyway.
    """
    names = [file.name for file in run.path.iterdir()] if run.path.exists() else []
    known = {file.name for file in (*own, run.lock)}
    return [name for name in names if name not in known and not name.startswith(WRITING)]


def finished_run(path: str | Path) -> Run:
    """A run that has a model.

    Raises:
        UserError: There is no such directory, or no model in it yet.
    """
    run = Run(Path(path))
    if not run.path.is_dir():
        raise UserError(f"there is no run directory {str(path)!r}; `resnet-tf finetune DATA --run {path}` makes one")
    for file in run.of_model:
        if not file.is_file():
            raise UserError(f"the run {str(path)!r} has no {file.name}; finish it with `resnet-tf finetune` first")
    return run


def load_classes(run: Run) -> list[str]:
    """The class names, in the order of every matrix and column."""
    return read_json(run.classes)


def load_model(run: Run) -> Any:
    """The best model of a run, a `keras.Model` from uint8 images to logits."""
    import keras

    import resnet_tf.layers  # noqa: F401  its layers are registered for loading

    with deep_recursion():
        return keras.models.load_model(run.model, compile=False, safe_mode=True)


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: It is not there, or it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{str(path)!r} is not JSON: {error}") from error


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, atomically."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_text(path: Path, text: str) -> None:
    """Writes text, atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_csv(path: Path, table: Any, *, index: bool = False) -> None:
    """Writes a DataFrame, atomically."""
    write_atomically(path, lambda temporary: table.to_csv(temporary, index=index))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file beside `path`, flushes it to the disk, and renames it.

    The temporary name keeps the extension, since some writers choose their format by it.

    Raises:
        UserError: The disk is full, or nothing can be written there; what stood at `path` still stands.
    """
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
        _flush(path.parent)  # the new name, which a power cut would lose otherwise
    except OSError as error:
        raise UserError(
            f"cannot write {str(path)!r}: {error.strerror or error}; nothing written before is lost"
        ) from error


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint_of(path: Path) -> str:
    """SHA-256 of weights: of a file; of all files of a SavedModel's folder or a TensorFlow checkpoint, one after the
    other, each behind its name."""
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
