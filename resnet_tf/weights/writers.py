"""Writes files of weights that contain their description: .safetensors, .npz, .weights.h5 and .keras."""

import io
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import h5py
import keras
import numpy as np

from resnet_tf.architectures import ARCHITECTURES
from resnet_tf.errors import UserError
from resnet_tf.weights.loading import configs_of
from resnet_tf.weights.names import variables_of
from resnet_tf.weights.portable import portable_twin, with_batch_norms
from resnet_tf.weights.preprocessing import Preprocessing
from resnet_tf.weights.structure import structure_of
from resnet_tf.weights.torch_names import to_torchvision
from resnet_tf.weights.weight_file import DESCRIPTION, description

_FIRST_YEAR_OF_ZIP = 1980
KINDS = (".safetensors", ".npz", ".weights.h5", ".keras")


def write_weights(
    model: keras.Model,
    path: Path,
    preprocessing: Preprocessing,
    *,
    torchvision: bool = False,
    image_size: int | None = None,
    classes: Sequence[str] | None = None,
) -> None:
    """Writes all variables of a model's layers, in float32, bit for bit.

    A .keras file contains the whole network with only Keras's own layers, so `keras.saving.load_model` opens it where
    this package is not installed. There, the first convolution of a network that reads BGR is stored for RGB.

    Args:
        model: Network from `resnet_tf.build` or `resnet_tf.build_classifier`.
        path: Path of the file to write; its ending says its kind, one of `KINDS`.
        preprocessing: Preprocessing that the images need; it is written with the weights, and so is the structure.
        torchvision: Whether to use torchvision's names and axes, in .safetensors and .npz.
        image_size: Height and width of the images that the network was trained on, in pixels; None if unknown.
        classes: Names of the classes in the order of the logits; None if unknown.

    Raises:
        UserError: The ending is not one of `KINDS`, or torchvision's names are not for such files or have no place for
            a tensor.
    """
    writer = _find_writer(path)
    if torchvision and writer not in (_write_safetensors, _write_npz):
        raise UserError(f"torchvision's names are for .safetensors and .npz, received {path.name!r}")
    if writer is _write_keras:
        keras_writer = KerasWriter(model, preprocessing, image_size=image_size, classes=classes)
        keras_writer.twin.take_values(model)
        keras_writer.write(path)
        return
    writer(model, path, _described(model, preprocessing, image_size, classes), torchvision)


class KerasWriter:
    """Writes one network as .keras files, as `write_weights` does, as often as its values change.

    The network that such a file contains is built once, which takes longer than to write it. Call
    `twin.take_values(model)` before each `write`.

    Args:
        model: Network from `resnet_tf.build` or `resnet_tf.build_classifier`.
        preprocessing: Preprocessing that the images need.
        image_size: Height and width of the images that the network is trained on, in pixels; None if unknown.
        classes: Names of the classes in the order of the logits; None if unknown.
    """

    def __init__(
        self,
        model: keras.Model,
        preprocessing: Preprocessing,
        *,
        image_size: int | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        self.twin = portable_twin(model, preprocessing)
        self._text = _described(model, self.twin.preprocessing, image_size, classes)

    def write(self, path: Path) -> None:
        """Writes the twin with the values that it has now."""
        _write_keras(self.twin.model, path, self._text)


def check_kind(path: Path) -> None:
    """Checks the ending of a file before anything is computed.

    Raises:
        UserError: A file of this ending cannot be written.
    """
    _find_writer(path)


def _described(
    model: keras.Model, preprocessing: Preprocessing, image_size: int | None, classes: Sequence[str] | None
) -> str:
    structure = structure_of(configs_of(model))
    architecture = model.name if model.name in ARCHITECTURES else None
    return description(preprocessing, structure, architecture=architecture, image_size=image_size, classes=classes)


def _find_writer(path: Path) -> Callable[[keras.Model, Path, str, bool], None]:
    writers = (_write_safetensors, _write_npz, _write_weights_h5, _write_keras)
    for kind, writer in zip(KINDS, writers, strict=True):
        if path.name.endswith(kind):
            return writer
    raise UserError(f"the target must end in {', '.join(KINDS)}, received {path.name!r}")


def _write_safetensors(model: keras.Model, path: Path, text: str, torchvision: bool) -> None:
    from safetensors.numpy import save

    # Its own writer of files gives no reason that tells a full disk from a damaged tensor.
    path.write_bytes(save(_tensors(model, torchvision), metadata={DESCRIPTION: text}))


def _write_npz(model: keras.Model, path: Path, text: str, torchvision: bool) -> None:
    arrays: dict[str, Any] = {**_tensors(model, torchvision), DESCRIPTION: np.array(text)}
    with path.open("wb") as opened:
        np.savez(opened, **arrays)


def _write_weights_h5(model: keras.Model, path: Path, text: str, torchvision: bool) -> None:
    # In such a file, Keras finds variables by the class of their layer, and keras.applications has to find them.
    content = _InMemory(".weights.h5")
    with_batch_norms(model, keras.layers.BatchNormalization).save_weights(content)
    with h5py.File(content, "a") as opened:
        opened.attrs[DESCRIPTION] = text
    path.write_bytes(content.getbuffer())


def _write_keras(model: keras.Model, path: Path, text: str, torchvision: bool = False) -> None:
    content = _InMemory(".keras")
    with _dates_of_zip():
        model.save(content)
        with zipfile.ZipFile(content, "a") as archive:
            archive.writestr(f"{DESCRIPTION}.json", text)
    path.write_bytes(content.getbuffer())


class _InMemory(io.BytesIO):
    """A file in memory for Keras, which tells the format by the ending.

    The HDF5 library ends the process with SIGSEGV when a disk gets full under its file. Python says that it is full.
    """

    def __init__(self, ending: str) -> None:
        super().__init__()
        self._ending = ending

    def __str__(self) -> str:
        return f"memory{self._ending}"


@contextmanager
def _dates_of_zip() -> Iterator[None]:
    """Lets a zip file be written while the clock stands before 1980, where the dates of zip files begin.

    Machines without a battery start in 1970, and Keras gives zipfile no date.
    """
    if time.localtime().tm_year >= _FIRST_YEAR_OF_ZIP:
        yield
        return
    first = time.struct_time((_FIRST_YEAR_OF_ZIP, 1, 1, 0, 0, 0, 1, 1, 0))
    with mock.patch.object(zipfile, "time", SimpleNamespace(time=time.time, localtime=lambda *_: first)):
        yield


def _tensors(model: keras.Model, torchvision: bool) -> dict[str, np.ndarray]:
    tensors = {name: keras.ops.convert_to_numpy(variable) for name, variable in variables_of(model).items()}
    if not torchvision:
        return tensors
    try:
        return to_torchvision(tensors)
    except KeyError as error:
        raise UserError(f"torchvision's names have no place for {error.args[0]!r} of {model.name}") from None
