"""Reads files of weights by their content, whatever their extension says.

Nothing is unpickled, no link out of a file is followed, and no more than `MAX_BYTES` are read.
"""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from resnet_tf.errors import UserError
from resnet_tf.weights.caffe_files import looks_like_caffe, read_caffemodel
from resnet_tf.weights.caffe_names import from_caffe
from resnet_tf.weights.hdf5_files import HDF5_SIGNATURE, read_hdf5
from resnet_tf.weights.names import is_preactivated
from resnet_tf.weights.preprocessing import CAFFE, CIFAR, TENSORFLOW, TORCH, Preprocessing
from resnet_tf.weights.structure import LayerConfigs, Structure, layer_configs, structure_of
from resnet_tf.weights.tensorflow_files import read_tensorflow
from resnet_tf.weights.torch_files import read_torch
from resnet_tf.weights.torch_names import from_torch, is_cifar, is_torch
from resnet_tf.weights.unnamed_layers import layer_names_in_config, with_layer_names
from resnet_tf.weights.weight_file import DESCRIPTION, MAX_BYTES, WeightFile, described

# The file to which export writes the description in a SavedModel, in the folder that TensorFlow keeps for such files.
SAVED_MODEL_DESCRIPTION = Path("assets.extra") / f"{DESCRIPTION}.json"
# Prefixes that wrappers of a network put before all names: DataParallel, torch.compile, Lightning.
_WRAPPERS = ("module.", "_orig_mod.", "model.", "net.")
_PICKLE_SIGNATURE = b"\x80"
KINDS = ".h5, .weights.h5, .keras, .safetensors, .npz, .pth, .caffemodel, a SavedModel and a TensorFlow checkpoint"


def read_weights(path: str | Path) -> WeightFile:
    """Reads a file of weights.

    Args:
        path: Path of a file, which may be HDF5 in Keras's old or new layout, .keras, .safetensors, .npz, a PyTorch
            checkpoint or a .caffemodel; or the folder of a SavedModel, or the prefix of a TensorFlow checkpoint.

    Returns:
        The tensors, in Keras's names and axes.

    Raises:
        UserError: The file does not exist, is damaged, or is of a different kind.
    """
    path = Path(path)
    reader = _find_reader(path)
    try:
        return reader(path)
    except UserError:
        raise
    except Exception as error:  # each format's library has its own errors for damaged bytes
        raise UserError(f"the weights {str(path)!r} are damaged or incomplete: {first_line(error)}") from error


def _find_reader(path: Path) -> Callable[[Path], WeightFile]:
    if path.is_dir() or path.suffix == ".index" or path.with_name(f"{path.name}.index").is_file():
        return _read_tensorflow
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise UserError(f"cannot read the weights {str(path)!r}: {error.strerror}") from error
    if start.startswith(HDF5_SIGNATURE):
        return _read_hdf5
    if start.startswith(b"PK"):
        members = _zip_members(path)
        if "model.weights.h5" in members:
            return _read_keras
        if any(member.endswith(".npy") for member in members):
            return _read_npz
        if any(member.endswith("data.pkl") for member in members):
            return _read_torch
    elif start[8:] == b"{":  # first, because the eight bytes before it are a length and may look like anything
        return _read_safetensors
    elif start.startswith(_PICKLE_SIGNATURE):
        return _read_torch
    elif looks_like_caffe(path):
        return _read_caffe
    raise UserError(f"{str(path)!r} is none of {KINDS}")


def _read_safetensors(path: Path) -> WeightFile:
    from safetensors import safe_open
    from safetensors.numpy import load_file

    _check_size(path.stat().st_size, path)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
    return _weight_file(path, load_file(path), metadata.get(DESCRIPTION))


def _read_npz(path: Path) -> WeightFile:
    with zipfile.ZipFile(path) as archive:
        _check_size(sum(member.file_size for member in archive.infolist()), path)
    with np.load(path, allow_pickle=False) as archive:
        tensors = {name: archive[name] for name in archive.files}
    description = tensors.pop(DESCRIPTION, None)
    return _weight_file(path, tensors, None if description is None else str(description))


def _read_torch(path: Path) -> WeightFile:
    return _weight_file(path, read_torch(path), None)


def _read_tensorflow(path: Path) -> WeightFile:
    beside = path if path.is_dir() else path.parent
    _check_size(sum(file.stat().st_size for file in beside.rglob("*.data-*")), path)
    ours = path / SAVED_MODEL_DESCRIPTION
    return _weight_file(path, read_tensorflow(path), ours.read_text(encoding="utf-8") if ours.is_file() else None)


def _read_caffe(path: Path) -> WeightFile:
    structure = Structure(stride_at="1x1", stem_pool="caffe", shortcut="B", stochastic_depth=0.0)
    return WeightFile(path, from_caffe(read_caffemodel(path)), CAFFE, structure)


def _read_hdf5(path: Path) -> WeightFile:
    tensors, description = read_hdf5(path, lambda size: _check_size(size, path))
    return _weight_file(path, tensors, description)


def _read_keras(path: Path) -> WeightFile:
    with zipfile.ZipFile(path) as archive:
        _check_size(sum(member.file_size for member in archive.infolist()), path)
        weights = io.BytesIO(archive.read("model.weights.h5"))
        config = json.loads(archive.read("config.json"))
    tensors, _ = read_hdf5(weights, lambda size: _check_size(size, path))
    file = _weight_file(path, with_layer_names(tensors, layer_names_in_config(config)), None)
    said = said_by_keras_file(path)
    if said is not None:
        return replace(said, tensors=file.tensors)
    return replace(file, structure=structure_of(list(layer_configs(config))))


def said_by_keras_file(path: Path) -> WeightFile | None:
    """Reads what a .keras file says of its network, in its description or else in its layers.

    Returns:
        The weight file without its tensors, or None if nothing says what the images must look like.
    """
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        ours = f"{DESCRIPTION}.json"
        if ours in archive.namelist():
            return described(path, {}, archive.read(ours).decode())
    layers = list(layer_configs(config))
    stated = _preprocessing_in(layers)
    return WeightFile(path, {}, stated, structure_of(layers)) if stated else None


def _preprocessing_in(layers: LayerConfigs) -> Preprocessing | None:
    """Returns what a model does to its images before its first convolution, by our layer or by Keras's Rescaling."""
    for kind, config in layers:
        if kind == "Conv2D":
            return None
        if kind == "ImageNormalization":
            mean, deviation = tuple(config["mean"]), tuple(config["deviation"])
            return Preprocessing(mean, deviation, config["channels"])
        if kind == "Rescaling":
            scale, offset = _per_channel(config["scale"]), _per_channel(config["offset"])
            if scale and offset:
                mean = -offset[0] / scale[0], -offset[1] / scale[1], -offset[2] / scale[2]
                return Preprocessing(mean, (1.0 / scale[0], 1.0 / scale[1], 1.0 / scale[2]))
    return None


def _per_channel(numbers: Any) -> list[float] | None:
    numbers = numbers if isinstance(numbers, list) else [numbers] * 3
    plain = len(numbers) == 3 and all(isinstance(number, int | float) for number in numbers)
    return [float(number) for number in numbers] if plain else None


def _weight_file(path: Path, tensors: dict[str, np.ndarray], text: str | None) -> WeightFile:
    """Returns the weight file of tensors, whose names may be those of any library.

    What a file does not say of itself is guessed from these names.
    """
    tensors = _unwrapped({name: _float32(tensor) for name, tensor in tensors.items()})
    if is_torch(tensors):
        look = CIFAR if is_cifar(tensors) else TORCH
        structure = Structure(stride_at="3x3", stem_pool="centred", stochastic_depth=0.0)
        guess = WeightFile(path, from_torch(tensors), look, structure, assumed=True)
    else:
        guess = WeightFile(path, tensors, TENSORFLOW if is_preactivated(tensors) else CAFFE, assumed=True)
    return guess if text is None else described(path, guess.tensors, text)


def _unwrapped(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the tensors without the prefixes that wrappers put before all names."""
    for prefix in _WRAPPERS:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return _unwrapped({name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
    return tensors


def _zip_members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except zipfile.BadZipFile as error:
        raise UserError(f"the weights {str(path)!r} are damaged or incomplete: {error}") from error


def _check_size(size: int, path: Path) -> None:
    if size > MAX_BYTES:
        raise UserError(f"the weights {str(path)!r} unpack to {size:,} bytes, more than {MAX_BYTES:,}")


def _float32(tensor: np.ndarray) -> np.ndarray:
    return tensor.astype(np.float32) if tensor.dtype.kind in "fV" else tensor


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, or the error's kind if the message is empty."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
