"""Small files of weights in every format, and ways to damage them."""

import json
import os
import pickle
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from unittest.mock import patch

import h5py
import keras
import numpy as np
from safetensors.numpy import save_file

import resnet_tf
from resnet_tf.architectures import ARCHITECTURES
from resnet_tf.weights import TORCH, write_weights
from resnet_tf.weights.crc32c import crc32c
from tests.campaigns.weights import MARKER
from tests.networks import TINY

Sample = dict[str, Path]


def model_of() -> keras.Model:
    """Returns the network of all samples, the same at each call."""
    keras.utils.set_random_seed(0)
    with known_network():
        return resnet_tf.build(TINY.name, classes=3)


def known_network() -> AbstractContextManager[object]:
    """Returns a context in which the network of the samples is an architecture like any other."""
    return patch.dict(ARCHITECTURES, {TINY.name: TINY})


def tensors_of(model: keras.Model) -> dict[str, np.ndarray]:
    return {f"{layer.name}/{variable.name}": np.array(variable) for layer in model.layers for variable in layer.weights}


def write_samples(folder: Path) -> Sample:
    """Writes a sound file of every format and returns its path by format."""
    import tensorflow as tf

    from tests.conftest import torch_tensors
    from tests.resnet_tf.test_caffe_files import blob, layer, network

    folder.mkdir()
    model = model_of()
    samples = {kind: folder / f"sample.{kind}" for kind in ("safetensors", "npz", "weights.h5", "keras")}
    for path in samples.values():
        write_weights(model, path, TORCH)
    samples["old.h5"] = folder / "old.h5"
    with h5py.File(samples["old.h5"], "w") as file:
        for name, value in tensors_of(model).items():
            file[f"{name.partition('/')[0]}/{name}:0"] = value
    torch = torch_tensors(model)
    samples["torch.safetensors"] = folder / "torch.safetensors"
    save_file(torch, samples["torch.safetensors"], metadata={"format": "pt"})
    for layout in ("zip", "legacy"):
        samples[f"{layout}.pth"] = folder / f"{layout}.pth"
        _write_torch(layout, samples[f"{layout}.pth"], torch)
    samples["caffemodel"] = folder / "sample.caffemodel"
    samples["caffemodel"].write_bytes(network(layer("conv1", blob(np.zeros((8, 3, 7, 7), "float32")))))
    samples["index"] = Path(f"{tf.train.Checkpoint(model=model).write(str(folder / 'checkpoint'))}.index")
    samples["data"] = folder / "checkpoint.data-00000-of-00001"
    return samples


def _write_torch(layout: str, path: Path, tensors: dict[str, np.ndarray]) -> None:
    from tests.resnet_tf import test_torch_files as torch_files

    contents = {str(number): np.ascontiguousarray(value).tobytes() for number, value in enumerate(tensors.values())}
    state, storages = {}, {}
    for number, (name, value) in enumerate(tensors.items()):
        strides = tuple(stride // value.itemsize for stride in np.ascontiguousarray(value).strides)
        place = torch_files.storage(str(number), value.size)
        state[name] = torch_files.tensor(place, value.shape, strides)
        storages[str(number)] = (value.size, contents[str(number)])
    torch_files.write(layout, path, state, storages)


def damaged(samples: Sample, place: Path, chance: random.Random) -> tuple[str, Path]:
    """Writes a damaged file.

    Args:
        samples: Sound files by format.
        place: Path of a folder to make.
        chance: Generator of random numbers.

    Returns:
        Format and damage in words, and the path to read.
    """
    place.mkdir()
    kind = chance.choice(sorted(samples))
    if kind in ("index", "data"):
        return _damaged_checkpoint(samples, kind, place, chance)
    structured = {
        "safetensors": _safetensors,
        "torch.safetensors": _safetensors,
        "npz": _npz,
        "old.h5": _hdf5,
        "weights.h5": _hdf5,
        "keras": _archive,
        "zip.pth": _archive,
    }
    path = place / samples[kind].name
    if kind in structured and chance.random() < 0.5:
        shutil.copy(samples[kind], path)
        return f"{kind}: {structured[kind](path, chance)}", path
    content, damage = _bytes(samples[kind].read_bytes(), chance)
    path.write_bytes(content)
    return f"{kind}: {damage}", path


def _bytes(content: bytes, chance: random.Random) -> tuple[bytes, str]:
    """Returns other bytes and what was done; the beginning, where a file says how it is built, is hit more often."""
    end = chance.choice((64, 1000, len(content)))
    where = chance.randrange(min(end, len(content)))
    length = chance.choice((1, 8, 100))
    damage = chance.choice(("cut", "flipped", "zeroed", "inserted", "repeated", "executable", "ones"))
    changed = bytearray(content)
    match damage:
        case "cut":
            changed = changed[:where]
        case "flipped":
            for _ in range(length):
                changed[chance.randrange(min(end, len(content)))] ^= 1 << chance.randrange(8)
        case "zeroed":
            changed[where : where + length] = bytes(len(changed[where : where + length]))
        case "ones":
            changed[where : where + length] = b"\xff" * len(changed[where : where + length])
        case "inserted":
            changed[where:where] = chance.randbytes(length)
        case "repeated":
            changed[where:where] = changed[where : where + 1000]
        case "executable":
            changed = bytearray(pickle.dumps({"state_dict": _Executed(), "conv1.weight": _Executed()}, 2))
    return bytes(changed), f"{damage} at {where}"


class _Executed:
    """An object whose pickle writes a file where it is loaded."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {MARKER}",)


# Formats, each by what its own library can write


def _number(chance: random.Random) -> float:
    return chance.choice((float("nan"), float("inf"), 1e38, -1e38, -1.0, 1e-45))


def _safetensors(path: Path, chance: random.Random) -> str:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    name = chance.choice([name for name in header if name != "__metadata__"])
    damage = chance.choice(("shape", "offsets", "dtype", "name", "twice", "metadata", "deep", "number"))
    text = None
    match damage:
        case "shape":
            header[name]["shape"] = chance.choice(([2**62, 4], [-1], [0], [10**18], list(range(1, 9)), "x", [1] * 100))
        case "offsets":
            header[name]["data_offsets"] = chance.choice(([0, 2**63], [5, 1], [0], [-1, 3]))
        case "dtype":
            header[name]["dtype"] = chance.choice(("BOOL", "F64", "U8", "X", "BF16", "F8_E4M3"))
        case "name":
            header[chance.choice(("conv9_block1_1_conv/kernel", "", "/", "x" * 100_000, "a\nb", "#conv2d/0"))] = (
                header.pop(name)
            )
        case "twice":
            text = json.dumps(header)[:-1] + f", {json.dumps(name)}: {json.dumps(header[name])}}}"
        case "metadata":
            value = chance.choice(("{}", "[" * 5000, "null", '{"preprocessing": 3}', "x"))
            header["__metadata__"] = {"resnet_tf": value, "architecture": "resnet" * chance.randrange(3)}
        case "deep":
            text = "[" * 20_000
        case "number":
            body = bytearray(content)
            start = 8 + length + header[name]["data_offsets"][0]
            body[start : start + 4] = struct.pack("<f", _number(chance))
            path.write_bytes(body)
            return damage
    encoded = (json.dumps(header) if text is None else text).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + content[8 + length :])
    return damage


def _npz(path: Path, chance: random.Random) -> str:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice(sorted(members))
    damage = chance.choice(("shape", "object", "twice", "name", "compressed zeros"))
    content = members.pop(name)
    match damage:
        case "shape":
            content = content.replace(b"'shape': (", b"'shape': (99999999999, ", 1)
        case "object":
            content = content.replace(b"<f4", b"|O ", 1)
        case "name":
            name = chance.choice(("../x.npy", "/etc/x.npy", "a\nb.npy", "x" * 5000 + ".npy"))
        case "compressed zeros":
            content += bytes(10**6)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in [*members.items(), (name, content), *([(name, content)] if damage == "twice" else [])]:
            archive.writestr(member, data)
    return damage


def _hdf5(path: Path, chance: random.Random) -> str:
    damage = chance.choice(("deep", "wide", "text", "huge", "twice", "external", "soft", "loop", "compound", "number"))
    with h5py.File(path, "a") as file:
        match damage:
            case "deep":
                group = file
                for _ in range(chance.choice((10, 100, 1000))):
                    group = group.create_group("g")
                group["x"] = np.zeros(3, "float32")
            case "wide":
                for number in range(2000):
                    file.create_group(f"g{number}")
            case "text":
                file.create_dataset("conv1_bn/gamma2:0", data=["a" * 1000] * 1000, dtype=h5py.string_dtype())
            case "huge":
                file.create_dataset("a/kernel:0", (2**20, 2**20), "float32", chunks=(1, 1024))
            case "twice":
                for group in ("a", "b"):
                    file[f"{group}/conv1_conv/kernel:0"] = np.zeros((7, 7, 3, 8), "float32")
            case "external":
                file.create_dataset("e/kernel:0", (4,), "float32", external=[("/etc/passwd", 0, 16)])
            case "soft":
                file["s"] = h5py.SoftLink("/s")
                file["t"] = h5py.ExternalLink("/etc/passwd", "/")
            case "loop":
                group = file.create_group("loop")
                group["again"] = file["/"]
            case "compound":
                file["c/kernel:0"] = np.zeros(3, [("a", "f4"), ("b", "i8")])
            case "number":
                found: list[str] = []
                file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
                dataset = file[chance.choice(found)]
                if dataset.dtype.kind == "f":
                    dataset[...] = _number(chance)
    return damage


def _archive(path: Path, chance: random.Random) -> str:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice(sorted(members))
    damage = chance.choice(("missing", "bytes", "twice", "deep"))
    content = members.pop(name)
    if damage == "bytes":
        content = _bytes(content, chance)[0] if content else b"x"
    if damage == "deep":
        content = b"[" * 50_000
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        for _ in range({"missing": 0, "twice": 2}.get(damage, 1)):
            archive.writestr(name, content)
    return f"{damage} {name}"


# Checkpoints of TensorFlow, whose check sums are made right again


def _damaged_checkpoint(samples: Sample, kind: str, place: Path, chance: random.Random) -> tuple[str, Path]:
    for part in ("index", "data"):
        shutil.copy(samples[part], place / samples[part].name)
    path = place / samples["index"].name
    if kind == "data":
        content, damage = _bytes(samples["data"].read_bytes(), chance)
        (place / samples["data"].name).write_bytes(content)
        return f"checkpoint's data: {damage}", path
    content = samples["index"].read_bytes()
    if chance.random() < 0.3:
        content, damage = _bytes(content, chance)
        path.write_bytes(content)
        return f"checkpoint's index: {damage}", path
    path.write_bytes(resealed(content, chance))
    return "checkpoint's index: other bytes with right check sums", path


def resealed(index: bytes, chance: random.Random) -> bytes:
    """Returns an index of a checkpoint with some other bytes in its blocks, and right check sums of the blocks."""
    from resnet_tf.weights.tensor_bundle import _block, _handle, _masked

    footer = index[-48:]
    _, position = _handle(footer, 0)
    top, _ = _handle(footer, position)
    handles = [top, *(_handle(value, 0)[0] for _, value in _block(index, *top))]
    changed = bytearray(index)
    offset, size = chance.choice(handles)
    for _ in range(chance.choice((1, 1, 2, 10))):
        changed[offset + chance.randrange(size)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    checksum = _masked(crc32c(bytes(changed[offset : offset + size + 1])))
    changed[offset + size + 1 : offset + size + 5] = checksum.to_bytes(4, "little")
    return bytes(changed)
