"""Converts PyTorch's names and axes to ours, and back.

It knows the names of torchvision and timm, of Hugging Face transformers, and of the CIFAR nets of
akamaster/pytorch_resnet_cifar10.
"""

import math
import re
from collections.abc import Iterable, Mapping
from functools import partial

import numpy as np

from resnet_tf.errors import UserError
from resnet_tf.weights.names import HEAD

Tensors = Mapping[str, np.ndarray]

_VARIABLES = {"weight": "kernel", "bias": "bias"}
_BATCH_NORM_VARIABLES = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}

# The tables map a module's name to a layer's name. In a layer's name, "{2}" stands for the second group of the module's
# name, and "{2+1}" for that number plus one.
_FIELD = re.compile(r"\{(\d)([+-]\d)?\}")
_TORCHVISION = (
    (r"conv1", "conv1_conv"),
    (r"bn1", "conv1_bn"),
    (r"layer(\d+)\.(\d+)\.conv(\d)", "conv{1+1}_block{2+1}_{3}_conv"),
    (r"layer(\d+)\.(\d+)\.bn(\d)", "conv{1+1}_block{2+1}_{3}_bn"),
    (r"layer(\d+)\.(\d+)\.(?:downsample|shortcut)\.0", "conv{1+1}_block{2+1}_0_conv"),
    (r"layer(\d+)\.(\d+)\.(?:downsample|shortcut)\.1", "conv{1+1}_block{2+1}_0_bn"),
    (r"fc|linear", HEAD),
)
_TRANSFORMERS = (
    (r"(?:resnet\.)?embedder\.embedder\.convolution", "conv1_conv"),
    (r"(?:resnet\.)?embedder\.embedder\.normalization", "conv1_bn"),
    (
        r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d)\.convolution",
        "conv{1+2}_block{2+1}_{3+1}_conv",
    ),
    (
        r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d)\.normalization",
        "conv{1+2}_block{2+1}_{3+1}_bn",
    ),
    (r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.convolution", "conv{1+2}_block{2+1}_0_conv"),
    (r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.normalization", "conv{1+2}_block{2+1}_0_bn"),
    (r"classifier\.1", HEAD),
)
_VGG_HEAD = (
    (r"classifier\.0|pre_logits\.fc1", "fc1"),
    (r"classifier\.3|pre_logits\.fc2", "fc2"),
    (r"classifier\.6|head\.fc", HEAD),
)
_TO_TORCHVISION = (
    (r"conv1_conv", "conv1"),
    (r"conv1_bn", "bn1"),
    (r"conv(\d+)_block(\d+)_0_conv", "layer{1-1}.{2-1}.downsample.0"),
    (r"conv(\d+)_block(\d+)_0_bn", "layer{1-1}.{2-1}.downsample.1"),
    (r"conv(\d+)_block(\d+)_(\d)_(conv|bn)", "layer{1-1}.{2-1}.{4}{3}"),
    (HEAD, "fc"),
)


def is_torch(names: Tensors) -> bool:
    """Returns whether the names are those of a network from PyTorch."""
    pattern = r"layer\d+\.\d+\.conv\d\.weight|(resnet\.)?encoder\.stages\..*convolution\.weight|features\.0\.weight"
    return any(re.fullmatch(pattern, name) for name in names)


def is_cifar(names: Tensors) -> bool:
    """Returns whether the names are those of akamaster/pytorch_resnet_cifar10: three stages, a `linear` classifier."""
    return "linear.weight" in names and not any(name.startswith("layer4.") for name in names)


def from_torch(tensors: Tensors) -> dict[str, np.ndarray]:
    """Converts PyTorch's names and axes to Keras's. A name outside the tables is unchanged.

    Args:
        tensors: PyTorch's tensors by name; kernels are [filters, channels, height, width] and [outputs, inputs].

    Returns:
        Keras's tensors by name; kernels are [height, width, channels, filters] and [inputs, outputs].
    """
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    if "features.0.weight" in tensors:
        return _from_vgg(tensors)
    table = _TRANSFORMERS if any(".convolution." in name for name in tensors) else _TORCHVISION
    return _unique((_renamed(name, table), name, _to_keras_axes(tensor)) for name, tensor in tensors.items())


def _unique(renamed: Iterable[tuple[str, str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns tensors under their new names, given (new name, old name, tensor)."""
    converted: dict[str, np.ndarray] = {}
    before: dict[str, str] = {}
    for new, old, tensor in renamed:
        if new in converted:
            raise UserError(f"the weights have two tensors for {new}, {before[new]!r} and {old!r}")
        converted[new], before[new] = tensor, old
    return converted


def to_torchvision(tensors: Tensors) -> dict[str, np.ndarray]:
    """Converts our names and axes to torchvision's, for a ResNet. This is the inverse of `from_torch`.

    Raises:
        KeyError: A tensor has no counterpart in torchvision, such as a convolution's bias.
    """
    converted = {}
    for name, tensor in tensors.items():
        layer, _, variable = name.partition("/")
        module = _translated(layer, _TO_TORCHVISION)
        variables = _BATCH_NORM_VARIABLES if layer.endswith("_bn") else _VARIABLES
        theirs = {ours: torch for torch, ours in variables.items()}.get(variable)
        if module is None or theirs is None or (variable == "bias" and layer != HEAD):
            raise KeyError(name)
        converted[f"{module}.{theirs}"] = np.ascontiguousarray(_to_torch_axes(tensor))
    return converted


def _from_vgg(tensors: Tensors) -> dict[str, np.ndarray]:
    """Converts a VGG, whose `features` are one list of convolutions, batch norms and poolings.

    A gap in the numbers is a pooling, which ends a block.
    """
    convolutions = sorted(int(name.split(".")[1]) for name in tensors if _is_vgg_convolution(name, tensors))
    distance = 3 if "features.1.running_mean" in tensors else 2
    names, block, number, before = {}, 1, 0, convolutions[0] - distance
    for index in convolutions:
        block, number = (block, number + 1) if index - before == distance else (block + 1, 1)
        names[f"features.{index}"] = f"block{block}_conv{number}"
        names[f"features.{index + 1}"] = f"block{block}_bn{number}"
        before = index
    channels = tensors[f"features.{before}.weight"].shape[0]

    renamed = []
    for name, tensor in tensors.items():
        module, _, variable = name.rpartition(".")
        layer = names.get(module) or _translated(module, _VGG_HEAD)
        variables = _BATCH_NORM_VARIABLES if layer and "_bn" in layer else _VARIABLES
        key = f"{layer}/{variables[variable]}" if layer and variable in variables else name
        renamed.append((key, name, _to_keras_axes(_dense(key, tensor, channels))))
    return _unique(renamed)


def _is_vgg_convolution(name: str, tensors: Tensors) -> bool:
    return re.fullmatch(r"features\.\d+\.weight", name) is not None and tensors[name].ndim == 4


def _dense(key: str, tensor: np.ndarray, channels: int) -> np.ndarray:
    """Converts kernels of dense layers to [outputs, inputs] with Keras's order of inputs: height, width, channels.

    torchvision flattens with the channels first, and timm stores these layers as convolutions.
    """
    if key == "fc1/kernel":
        size = math.isqrt(tensor.size // tensor.shape[0] // channels)
        if tensor.size != tensor.shape[0] * channels * size * size:  # of images that are no squares
            return tensor.reshape(tensor.shape[0], -1)
        tensor = tensor.reshape(tensor.shape[0], channels, size, size).transpose(0, 2, 3, 1)
    return tensor.reshape(tensor.shape[0], -1) if key.endswith("/kernel") and key.startswith(("fc", HEAD)) else tensor


def _renamed(torch_name: str, table: tuple[tuple[str, str], ...]) -> str:
    module, _, variable = torch_name.rpartition(".")
    layer = _translated(module, table)
    variables = _BATCH_NORM_VARIABLES if layer and layer.endswith("_bn") else _VARIABLES
    return f"{layer}/{variables[variable]}" if layer and variable in variables else torch_name


def _translated(name: str, table: tuple[tuple[str, str], ...]) -> str | None:
    for pattern, template in table:
        match = re.fullmatch(pattern, name)
        if match:
            return _FIELD.sub(partial(_field, match), template)
    return None


def _field(groups: re.Match[str], field: re.Match[str]) -> str:
    """Returns the text that a field such as "{2+1}" in a template stands for."""
    group, shift = groups[int(field[1])], field[2]
    return str(int(group) + int(shift)) if shift else group


def _to_keras_axes(tensor: np.ndarray) -> np.ndarray:
    if tensor.ndim == 4:
        return tensor.transpose(2, 3, 1, 0)
    return tensor.T if tensor.ndim == 2 else tensor


def _to_torch_axes(tensor: np.ndarray) -> np.ndarray:
    if tensor.ndim == 4:
        return tensor.transpose(3, 2, 0, 1)
    return tensor.T if tensor.ndim == 2 else tensor
