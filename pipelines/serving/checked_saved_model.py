"""Writes the SavedModel in float32, and compares its answers in a fresh process with the model's."""

from itertools import islice
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines.evaluation.inference import logits_of
from pipelines.images.decode import encoded_png
from pipelines.serving.exported import Exported
from pipelines.serving.photos import Photos
from pipelines.serving.processes import run_python
from resnet_tf.errors import UserError

LARGEST_DIFFERENCE = 1e-3
CHECKED_IMAGES = 32
_CHECK = Path(__file__).with_name("check_saved_model.py")


def write_checked(exported: Exported, photos: Photos, folder: Path) -> float:
    """Writes the SavedModel in float32.

    Args:
        exported: The model.
        photos: Photos that the model has not learned from.
        folder: Folder to make.

    Returns:
        The largest difference of a probability on the first `CHECKED_IMAGES` photos.

    Raises:
        UserError: A fresh process cannot serve it, or the difference is more than `LARGEST_DIFFERENCE`.
    """
    exported.save_saved_model(folder)
    images = list(islice(photos.pictures(), CHECKED_IMAGES))
    difference = _difference(folder, images, _expected(images, exported))
    if not difference <= LARGEST_DIFFERENCE:  # NaN is no agreement
        raise UserError(
            f"the SavedModel's probabilities differ from the Keras model's by {difference:.2g}, more than "
            f"{LARGEST_DIFFERENCE:g}; it is not kept"
        )
    return difference


def _expected(images: list[np.ndarray], exported: Exported) -> np.ndarray:
    with tf.device("CPU:0"):  # where the fresh process computes, too
        batch = tf.stack([exported.spec.for_evaluation(tf.constant(image)) for image in images])
        return tf.nn.softmax(logits_of(exported.model, exported.mirror, exported.temperature)(batch)).numpy()


def _difference(folder: Path, images: list[np.ndarray], expected: np.ndarray) -> float:
    """Serves the images with TensorFlow alone, and returns the largest difference of a probability."""
    samples = folder.with_name("samples.npz")
    pictures = {f"image_{number}": image for number, image in enumerate(images)}
    encoded = {f"bytes_{number}": np.frombuffer(encoded_png(image), np.uint8) for number, image in enumerate(images)}
    np.savez(samples, expected=expected, **pictures, **encoded, allow_pickle=False)
    failure = "the SavedModel is not kept, since a fresh process cannot serve it"
    said = run_python("-I", str(_CHECK), str(folder), str(samples), failure=failure)
    samples.unlink()
    return float(said.strip().splitlines()[-1])
