"""Networks out of .keras files and run directories, ready to use."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from resnet_tf.batch_normalization import FusedBatchNormalization
from resnet_tf.errors import UserError
from resnet_tf.recursion import deep_recursion
from resnet_tf.weights.portable import with_batch_norms
from resnet_tf.weights.preprocessing import Preprocessing
from resnet_tf.weights.readers import first_line, said_by_keras_file

# What a run directory calls its files, see pipelines/runs/directory.py.
_MODEL, _CLASSES, _CONFIG = "model.keras", "classes.json", "config.json"


@dataclass(frozen=True)
class Classifier:
    """A trained network with what one has to know to use it.

    Args:
        model: Network from uint8 RGB images [batch, height, width, 3] to logits [batch, classes].
        classes: Names of the classes in the order of the logits; None where nothing names them.
        preprocessing: What the network does to its images, and how they are cropped and resized before.
        image_size: Height and width of the images that it was trained on, in pixels; None where nothing says it.
    """

    model: keras.Model
    classes: list[str] | None
    preprocessing: Preprocessing
    image_size: int | None


def load(path: str | Path) -> Classifier:
    """Loads a classifier from a run, or from the file of a model.

        classifier = resnet_tf.load("runs/flowers")
        logits = classifier.model.predict(images)
        names = [classifier.classes[index] for index in logits.argmax(axis=1)]

    Args:
        path: Directory of a run, or a .keras file. What a file of an earlier version does not say of itself comes
            from classes.json and config.json beside it.

    Returns:
        The network with its fast batch normalization, the names of its classes, and what its images must look like.

    Raises:
        UserError: There is no such file, it is damaged, or it is not a classifier that says what its images must
            look like.
    """
    file = Path(path) / _MODEL if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise UserError(f"there is no model {str(file)!r}; name the directory of a finished run, or a .keras file")
    with _one_line(file):
        said = said_by_keras_file(file)
        beside = {name: _json_beside(file, name) for name in (_CLASSES, _CONFIG)}
    if said is None:
        raise UserError(f"the model {str(file)!r} does not say what its images must look like; load it with Keras")
    model = load_model(file)
    classes = said.classes or beside[_CLASSES]
    outputs = model.output_shape[-1]
    if classes is not None and len(classes) != outputs:
        raise UserError(f"the model {str(file)!r} has {outputs} outputs, and {len(classes)} classes are named")
    size = said.image_size or (beside[_CONFIG] or {}).get("arguments", {}).get("image_size")
    return Classifier(
        model=model,
        classes=None if classes is None else list(classes),
        preprocessing=said.preprocessing,
        image_size=size or model.input_shape[1],
    )


def load_model(path: str | Path) -> keras.Model:
    """Loads a network with its fast batch normalization.

    Args:
        path: A .keras file, of this version or of an earlier one.

    Returns:
        The model, not compiled.

    Raises:
        UserError: The file is damaged, or it would run code of its own.
    """
    with _one_line(Path(path)), deep_recursion():
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    if any(type(layer) is keras.layers.BatchNormalization for layer in model.layers):
        return with_batch_norms(model, FusedBatchNormalization)
    return model


def _json_beside(file: Path, name: str) -> Any:
    beside = file.with_name(name)
    return json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else None


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # archives, JSON, HDF5 and Keras each have errors of their own for damaged bytes
        raise UserError(f"the model {str(path)!r} is damaged or of another kind: {first_line(error)}") from error
