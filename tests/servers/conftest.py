"""Fixtures for the tests of real servers: an exported network, and its deployment."""

import io
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.images.stream import InputSpec
from pipelines.serving.saved_model import save_serving_model
from resnet_tf.classifier import build_classifier
from tests.conftest import randomize

CLASSES = ["ant", "bee", "<b>cat</b>"]
SIZE = 32


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of a SavedModel of an untrained network."""
    folder = tmp_path_factory.mktemp("saved_model") / "1"
    keras.utils.set_random_seed(0)
    model = build_classifier("cifar_resnet20", len(CLASSES), image_size=SIZE)
    randomize(model)
    save_serving_model(model, CLASSES, InputSpec(SIZE), folder)
    return folder


@pytest.fixture(scope="session")
def signatures(saved_model: Path) -> dict[str, Any]:
    """Returns the SavedModel's signatures, without a server."""
    return tf.saved_model.load(str(saved_model)).signatures


def photos(count: int) -> list[bytes]:
    """Returns the bytes of some PNG files."""
    random = np.random.default_rng(0)
    files = []
    for _ in range(count):
        buffer = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (40, 50, 3), np.uint8)).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files
