"""CIFAR-10 in memory: images and their classes as arrays, from a folder or a zip of image files or the binary archive.

The archive for Python is a pickle, which can run any code as it is read; it is refused.
"""

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from resnet_tf.errors import UserError

SIZE = 32
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HOW = "--data takes CIFAR-10: a folder or a zip with train/ and test/ by class, or cifar-10-binary.tar.gz"
_ENDINGS = (".jpg", ".jpeg", ".png")
_RECORD = 1 + 3 * SIZE * SIZE  # a label and the three colours of an image, in the binary files
_LARGEST_FILE = 10_000 * _RECORD
_LARGEST_IMAGE = 2**20
_BATCHES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}


@dataclass(frozen=True)
class Images:
    """Images with their classes.

    Args:
        pixels: RGB values, uint8 [images, 32, 32, 3].
        labels: Index of each image's class in `CLASSES`, uint8 [images].
    """

    pixels: np.ndarray
    labels: np.ndarray

    def first(self, number: int | None) -> "Images":
        """Returns the first images alone, or all if the number is None."""
        return self.part(0, number)

    def part(self, start: int, end: int | None) -> "Images":
        """Returns the images from one index up to another."""
        return Images(self.pixels[start:end], self.labels[start:end])


@dataclass(frozen=True)
class _Files:
    """The files of a folder or an archive.

    Args:
        path: Where they are.
        sizes: Size in bytes by name, with "/" between folders.
        read: Function that returns the content of the file with a name.
    """

    path: Path
    sizes: dict[str, int]
    read: Callable[[str], bytes]

    def content(self, name: str, most: int) -> bytes:
        if self.sizes[name] > most:
            raise UserError(
                f"{name!r} in {str(self.path)!r} has {self.sizes[name]:,} bytes, which is no part of CIFAR-10"
            )
        return self.read(name)


def read_cifar10(path: Path, train: int | None = None, test: int | None = None) -> tuple[Images, Images]:
    """Reads the images for training and those for the test.

    The images of each split are in an order that mixes the classes, and is always the same.

    Args:
        path: Folder or zip with train/ and test/ by class, or the archive of the binary version, or its folder.
        train: Number of images for training to read, None for all.
        test: Number of images for the test to read, None for all.

    Raises:
        UserError: There is no such file, or it does not hold the ten classes in both splits.
    """
    try:
        if path.is_dir():
            return _read(_in_folder(path), train, test)
        if not path.is_file():
            raise UserError(f"there is no file {str(path)!r}; {HOW}")
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                sizes = {info.filename: info.file_size for info in archive.infolist() if not info.is_dir()}
                return _read(_Files(path, sizes, archive.read), train, test)
        if tarfile.is_tarfile(path):
            with tarfile.open(path) as tar:
                return _read(_in_tar(path, tar), train, test)
    except (OSError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {error}; {HOW}") from error
    raise UserError(f"{str(path)!r} is neither a zip nor a tar archive; {HOW}")


def _in_folder(path: Path) -> _Files:
    root = path.resolve()
    inside = [file for file in sorted(path.rglob("*")) if file.is_file() and file.resolve().is_relative_to(root)]
    sizes = {file.relative_to(path).as_posix(): file.stat().st_size for file in inside}
    return _Files(path, sizes, lambda name: (path / name).read_bytes())


def _in_tar(path: Path, tar: tarfile.TarFile) -> _Files:
    members = {member.name: member for member in tar.getmembers() if member.isreg()}

    def read(name: str) -> bytes:
        file = tar.extractfile(members[name])
        assert file is not None  # it is a regular file
        return file.read()

    return _Files(path, {name: member.size for name, member in members.items()}, read)


def _read(files: _Files, train: int | None, test: int | None) -> tuple[Images, Images]:
    names = {PurePosixPath(name).name: name for name in files.sizes}
    if "test_batch" in names:
        raise UserError(
            f"{str(files.path)!r} is CIFAR-10 for Python, a pickle, which is not opened since it could run any code; "
            "take the binary version, cifar-10-binary.tar.gz"
        )
    read = _read_batches if "test_batch.bin" in names else _read_images
    return read(files, "train", train), read(files, "test", test)


def _read_batches(files: _Files, split: str, number: int | None) -> Images:
    """Reads the binary version: records of a label and of red, green and blue, row by row."""
    names = {PurePosixPath(name).stem: name for name in sorted(files.sizes) if name.endswith(".bin")}
    missing = [batch for batch in _BATCHES[split] if batch not in names]
    if missing:
        raise UserError(f"{str(files.path)!r} lacks {missing[0]}.bin of CIFAR-10's binary version")
    content = b"".join(files.content(names[batch], _LARGEST_FILE) for batch in _BATCHES[split])
    if not content or len(content) % _RECORD:
        raise UserError(f"the files of {split} in {str(files.path)!r} are no whole records of {_RECORD} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    if int(records[:, 0].max()) >= len(CLASSES):
        raise UserError(f"{str(files.path)!r} has labels up to {records[:, 0].max()}, and CIFAR-10 has 10 classes")
    chosen = records[_mixed(len(records))[:number]]
    pixels = chosen[:, 1:].reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1)
    return Images(np.ascontiguousarray(pixels), chosen[:, 0].copy())


def _read_images(files: _Files, split: str, number: int | None) -> Images:
    """Reads image files, whose folder is their class and the folder around it their split."""
    found = [name for name in sorted(files.sizes) if name.lower().endswith(_ENDINGS)]
    labelled = [(name, *("", "", *name.split("/"))[-3:-1]) for name in found]
    of_split = [(name, CLASSES.index(label)) for name, part, label in labelled if part == split and label in CLASSES]
    classes = len({label for _, label in of_split})
    if classes != len(CLASSES):
        raise UserError(f"{str(files.path)!r} has {classes} of CIFAR-10's 10 classes in {split}/; {HOW}")
    chosen = [of_split[index] for index in _mixed(len(of_split))[:number]]
    pixels = np.stack([_decoded(files, name) for name, _ in chosen])
    return Images(pixels, np.asarray([label for _, label in chosen], "uint8"))


def _decoded(files: _Files, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(files.content(name, _LARGEST_IMAGE))) as image:
            if image.size != (SIZE, SIZE):
                raise UserError(
                    f"{name!r} in {str(files.path)!r} has {image.width} × {image.height} pixels, not 32 × 32"
                )
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{name!r} in {str(files.path)!r} cannot be read: {error}") from error


def _mixed(number: int) -> np.ndarray:
    """Returns the indices in an order that is always the same."""
    return np.random.default_rng(0).permutation(number)


def synthetic(number: int) -> Images:
    """Returns images of noise with random classes, for what can be measured without data."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (number, SIZE, SIZE, 3), np.uint8)
    return Images(pixels, random.integers(0, len(CLASSES), number, np.uint8))


def fingerprint(images: Iterable[Images]) -> str:
    """Returns a hash of images and classes, in hexadecimal."""
    import hashlib

    digest = hashlib.sha256()
    for each in images:
        digest.update(each.pixels.tobytes())
        digest.update(each.labels.tobytes())
    return digest.hexdigest()
