"""CIFAR-10 in memory: every image and its class as arrays."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from resnet_tf.errors import UserError

SIZE = 32
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


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
        return Images(self.pixels[:number], self.labels[:number])


def read_cifar10(path: Path) -> tuple[Images, Images]:
    """Reads the images for training and those for the test from a zip of image files, train/ and test/ by class.

    The images of each split are in an order that mixes the classes, and is always the same.

    Raises:
        UserError: There is no such file, or it does not hold the ten classes in both splits.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}; --data takes CIFAR-10")
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg", ".png")))
        train, test = (_read_split(archive, names, split) for split in ("train", "test"))
    return train, test


def _read_split(archive: zipfile.ZipFile, names: list[str], split: str) -> Images:
    pixels, labels = [], []
    for name in names:
        *_, folder, label, _ = ("", "", *name.split("/"))
        if folder == split and label in CLASSES:
            with Image.open(io.BytesIO(archive.read(name))) as image:
                pixels.append(np.asarray(image.convert("RGB")))
            labels.append(CLASSES.index(label))
    if len(set(labels)) != len(CLASSES):
        raise UserError(f"{archive.filename} has {len(set(labels))} of CIFAR-10's 10 classes in {split}/")
    order = np.random.default_rng(0).permutation(len(labels))
    return Images(np.stack(pixels)[order], np.asarray(labels, "uint8")[order])
