"""One reader per file type, chosen by content: HDF5 (.h5, .weights.h5), .keras, .safetensors, .npz.

Nothing is unpickled, no link out of a file is followed, and no more is read than `MAX_BYTES`.
"""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resnet_tf.architectures import StridePlace
from resnet_tf.errors import UserError
from resnet_tf.weights.names import from_torchvision, is_torchvision
from resnet_tf.weights.preprocessing import CAFFE, TORCH, Preprocessing

MAX_BYTES = 8 * 2**30
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_KERNEL_AND_BIAS = ("kernel", "bias")
_BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


@dataclass(frozen=True)
class WeightFile:
    """Tensors in Keras's names and axes, and what a network must be for them to mean what they meant.

    Args:
        path: Where they were read.
        tensors: "layer/variable" to array.
        preprocessing: What the images must look like.
        stride_at: Where a bottleneck has its stride. Files in torchvision's names are all "v1.5".
    """

    path: Path
    tensors: dict[str, np.ndarray]
    preprocessing: Preprocessing
    stride_at: StridePlace


def read_weights(path: str | Path) -> WeightFile:
    """Reads a file of weights, whatever its extension says.

    Args:
        path: HDF5 in Keras's old or new layout, .keras, .safetensors, or .npz.

    Returns:
        The tensors, in Keras's names and axes.

    Raises:
        UserError: There is no such file, it is damaged, or of another kind.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise UserError(f"cannot read the weights {str(path)!r}: {error.strerror}") from error
    reader = _find_reader(path, start)
    try:
        return reader(path)
    except UserError:
        raise
    except Exception as error:  # each format's library has its own errors for damaged bytes
        raise UserError(f"the weights {str(path)!r} are damaged or incomplete: {_first_line(error)}") from error


def _find_reader(path: Path, start: bytes) -> Callable[[Path], WeightFile]:
    if start == _HDF5_SIGNATURE:
        return _read_hdf5
    if start.startswith(b"PK"):
        members = _zip_members(path)
        if "model.weights.h5" in members:
            return _read_keras
        if any(member.endswith(".npy") for member in members):
            return _read_npz
    elif len(start) == 8 and int.from_bytes(start, "little") < 100_000_000:
        return _read_safetensors
    raise UserError(
        f"{str(path)!r} is none of .h5, .weights.h5, .keras, .safetensors and .npz"
        " (a PyTorch pickle can be saved as .safetensors with safetensors.torch.save_file)"
    )


def _read_safetensors(path: Path) -> WeightFile:
    from safetensors.numpy import load_file

    _check_size(path.stat().st_size, path)
    return _from_flat_names(path, load_file(path))


def _read_npz(path: Path) -> WeightFile:
    with zipfile.ZipFile(path) as archive:
        _check_size(sum(member.file_size for member in archive.infolist()), path)
    with np.load(path, allow_pickle=False) as archive:
        return _from_flat_names(path, {name: archive[name] for name in archive.files})


def _read_hdf5(path: Path) -> WeightFile:
    return WeightFile(path, _hdf5_tensors(path, path), CAFFE, "1x1")


def _read_keras(path: Path) -> WeightFile:
    with zipfile.ZipFile(path) as archive:
        _check_size(sum(member.file_size for member in archive.infolist()), path)
        tensors = _hdf5_tensors(io.BytesIO(archive.read("model.weights.h5")), path)
        layers = list(_layer_configs(json.loads(archive.read("config.json"))))
    normalization = next((layer for kind, layer in layers if kind == "ImageNormalization"), None)
    preprocessing = CAFFE
    if normalization is not None:
        preprocessing = Preprocessing(
            mean=tuple(normalization["mean"]),
            deviation=tuple(normalization["deviation"]),
            channels=normalization["channels"],
        )
    strides = {layer["name"]: tuple(layer["strides"]) for kind, layer in layers if kind == "Conv2D"}
    bottleneck = "conv3_block1_3_conv" in strides
    stride_at: StridePlace = "3x3" if bottleneck and strides["conv3_block1_2_conv"] == (2, 2) else "1x1"
    return WeightFile(path, tensors, preprocessing, stride_at)


def _from_flat_names(path: Path, tensors: dict[str, np.ndarray]) -> WeightFile:
    tensors = {name: _float32(tensor) for name, tensor in tensors.items()}
    if is_torchvision(tensors):
        return WeightFile(path, from_torchvision(tensors), TORCH, "3x3")
    return WeightFile(path, tensors, CAFFE, "1x1")


def _hdf5_tensors(file: Any, path: Path) -> dict[str, np.ndarray]:
    """Old layout: …/layer/kernel:0. New layout: layers/conv2d_3/vars/0, where `vars` has the layer's name."""
    import h5py

    tensors: dict[str, np.ndarray] = {}
    with h5py.File(file, "r") as root:
        found: list[tuple[str, h5py.Dataset]] = []

        def collect(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and not name.startswith("optimizer"):
                found.append((name, item))

        root.visititems(collect)  # follows neither soft nor external links
        _check_size(sum(dataset.nbytes for _, dataset in found), path)
        for name, dataset in found:
            if dataset.external or dataset.is_virtual:
                raise UserError(f"{str(path)!r} has a tensor outside of itself, {name!r}; that is not followed")
            key = _hdf5_key(name, dataset)
            if key is not None:
                tensors[key] = _float32(dataset[()])
    return tensors


def _hdf5_key(name: str, dataset: Any) -> str | None:
    parts = name.split("/")
    if len(parts) < 2:
        return None
    if parts[-2] != "vars":
        return f"{parts[-2]}/{parts[-1].partition(':')[0]}"
    layer = dataset.parent.attrs.get("name")
    if layer is None:
        return None
    variables = _BATCH_NORM if len(dataset.parent) == len(_BATCH_NORM) else _KERNEL_AND_BIAS
    index = int(parts[-1])
    return f"{layer}/{variables[index]}" if index < len(variables) else None


def _layer_configs(config: Any) -> Any:
    """Every (class name, config) of a Keras model's config, nested models included."""
    for layer in config.get("config", {}).get("layers", []):
        yield layer["class_name"], layer["config"]
        yield from _layer_configs(layer)


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


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
