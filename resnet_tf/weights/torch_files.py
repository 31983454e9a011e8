"""Reads PyTorch checkpoints (.pth, .pt, .th) without PyTorch, and without running their pickles.

`torch.save` writes a pickle that says how tensors lie in storages, and the storages as raw bytes. Since PyTorch 1.6
these are members of an uncompressed zip file; before that, they followed the pickle one after the other
(torch/serialization.py).
"""

import functools
import io
import math
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from resnet_tf.errors import UserError
from resnet_tf.weights.files import check_size
from resnet_tf.weights.torch_pickle import BFLOAT16, STORAGE_TYPES, Storage, Tensor, unpickle
from resnet_tf.weights.weight_file import MAX_BYTES

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001
# The keys under which training scripts store the state dict. Averaged weights are used only if there are no others.
_STATE_DICTS = ("state_dict", "model_state_dict", "model", "net", "model_ema", "state_dict_ema")
_WRAPPERS = re.compile(r"^(module\.|_orig_mod\.)+")  # torch.nn.DataParallel and torch.compile


@dataclass(frozen=True)
class _Checkpoint:
    """The content of a pickle, with a function that returns the bytes of its storages."""

    content: Any
    bytes_of: Callable[[Storage], bytes]
    byte_order: Literal["<", ">"]


def read_torch(path: Path) -> dict[str, np.ndarray]:
    """Reads a state dict, or the one inside a checkpoint, from either layout of `torch.save`.

    Tensors that were saved from a GPU are read like all others. Everything that is not a tensor is left out.

    Args:
        path: Path of a file that `torch.save` wrote.

    Returns:
        Dictionary from a name to an array, in PyTorch's axes, without the prefixes of DataParallel and torch.compile.

    Raises:
        UserError: The file is of a different kind or too large, holds no tensors by name, or its pickle asks for
            something that tensors do not need, as a whole pickled model does.
        Exception: The file is damaged. The exception can be of several kinds, such as ValueError and
            zipfile.BadZipFile.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise UserError(f"the weights {str(path)!r} are {size:,} bytes long, more than {MAX_BYTES:,}")
    with path.open("rb") as file:
        checkpoint = _open_zip(file, path, size) if file.read(2) == b"PK" else _open_legacy(file, path)
        tensors = _find_state_dict(checkpoint.content, path)
        unpacked = sum(math.prod(tensor.size) * _raw_type(tensor.storage).itemsize for tensor in tensors.values())
        check_size(unpacked, path)  # much in a small file is possible, because many tensors may share one storage
        return {
            _WRAPPERS.sub("", name): _to_array(tensor, checkpoint.bytes_of(tensor.storage), checkpoint.byte_order)
            for name, tensor in tensors.items()
        }


def _open_zip(file: BinaryIO, path: Path, size: int) -> _Checkpoint:
    """Opens the layout since 1.6, which has PREFIX/data.pkl, PREFIX/data/KEY and, since 2.1, PREFIX/byteorder."""
    archive = zipfile.ZipFile(file)
    members = archive.infolist()
    compressed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if compressed or sum(max(member.file_size, member.compress_size) for member in members) > size:
        raise UserError(
            f"{str(path)!r} is compressed, which state dicts of PyTorch are not; "
            "if it is a TorchScript model, save its state_dict() with torch.save"
        )
    names = archive.namelist()
    pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise UserError(f"{str(path)!r} is no PyTorch checkpoint: it has {len(pickles)} members data.pkl, not one")
    prefix = pickles[0].removesuffix("data.pkl")
    big = f"{prefix}byteorder" in names and archive.read(f"{prefix}byteorder").strip() == b"big"

    @functools.cache  # tensors may share a storage, even if they describe it differently
    def bytes_of(key: str) -> bytes:
        return archive.read(f"{prefix}data/{key}")

    content = unpickle(io.BytesIO(archive.read(pickles[0])), path, {})
    return _Checkpoint(content, lambda storage: bytes_of(storage.key), ">" if big else "<")


def _open_legacy(file: BinaryIO, path: Path) -> _Checkpoint:
    """Opens the layout before 1.6, which has five pickles, then the number of elements and the bytes of each storage.

    Numbers and bytes are little-endian, whatever machine wrote them (torch/csrc/serialization.cpp).
    """
    file.seek(0)
    stream = io.BytesIO(file.read())
    start = (unpickle(stream, path, {}), unpickle(stream, path, {}))
    if start != (_MAGIC_NUMBER, _PROTOCOL_VERSION):
        raise UserError(f"{str(path)!r} is a pickle, but no PyTorch checkpoint")
    unpickle(stream, path, {})  # the sizes of C's types on the machine that wrote the file
    storages: dict[str, Storage] = {}
    content = unpickle(stream, path, storages)
    contents: dict[str, bytes] = {}
    for key in unpickle(stream, path, {}):
        if not isinstance(key, str) or key not in storages:
            raise ValueError("it has a storage that no tensor uses")
        count = int.from_bytes(stream.read(8), "little")
        contents[key] = stream.read(count * _raw_type(storages[key]).itemsize)  # reads no more than the file has
    return _Checkpoint(content, lambda storage: contents[storage.key], "<")


def _find_state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    entries = content if isinstance(content, dict) else {}
    for candidate in (*(entries.get(name) for name in _STATE_DICTS), entries):
        if isinstance(candidate, dict):
            tensors = {str(name): value for name, value in candidate.items() if isinstance(value, Tensor)}
            if tensors:
                return tensors
    raise UserError(
        f"{str(path)!r} holds no tensors by name, neither at its top nor under one of {', '.join(_STATE_DICTS)}; "
        "save model.state_dict()"
    )


def _to_array(tensor: Tensor, content: bytes, byte_order: Literal["<", ">"]) -> np.ndarray:
    storage = tensor.storage
    raw_type = _raw_type(storage).newbyteorder(byte_order)
    if storage.count * raw_type.itemsize > len(content):
        raise ValueError(f"storage {storage.key} has {len(content):,} bytes, too few for {storage.count:,} elements")
    if math.prod(tensor.size) > storage.count:  # with a stride of 0, a large tensor fits a small storage
        raise ValueError(f"a tensor of size {tensor.size} has more elements than its storage, {storage.count:,}")
    strides = [stride * raw_type.itemsize for stride in tensor.strides]
    # NumPy checks that offset and strides stay inside the storage.
    view = np.ndarray(tensor.size, raw_type, content, tensor.offset * raw_type.itemsize, strides)
    array = view.astype(raw_type.newbyteorder("="), order="C")
    if storage.kind == BFLOAT16:
        import ml_dtypes

        return array.view(ml_dtypes.bfloat16)
    return array


def _raw_type(storage: Storage) -> np.dtype:
    return np.dtype(STORAGE_TYPES[storage.kind])
