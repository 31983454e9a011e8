"""The names of tensors: keras.applications' layer name and the variable's, such as "conv2_block1_1_conv/kernel"."""

import re
from collections.abc import Iterable
from typing import Any

HEAD = "predictions"
KERNEL_AND_BIAS = ("kernel", "bias")
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")

# The kernels of a backbone's convolutions, and the variables of all its layers, which reveal a file of a different
# architecture.
BACKBONE_KERNEL = re.compile(r"(conv\d+(_block\d+_\d+)?_conv|block\d+_conv\d+)/kernel")
BACKBONE_LAYER = re.compile(r"(conv\d+(_block\d+_\w+)?_(conv|bn)|post_bn|block\d+_(conv|bn)\d+)/\w+|layer\d+\.\d+\..+")

# The beginning of the names of a residual block's tensors.
BACKBONE_BLOCK = re.compile(r"conv\d+_block\d+_")
# The first convolution of each family, which sees the images.
FIRST_KERNELS = ("conv1_conv/kernel", "block1_conv1/kernel")


def variables_of(model: Any) -> dict[str, Any]:
    """Returns the variables of a model's layers by the names of their tensors."""
    return {f"{layer.name}/{variable.name}": variable for layer in model.layers for variable in layer.weights}


def unit_of(name: str) -> str | None:
    """Returns the unit of depth of a tensor: "conv2_block3" in a ResNet, "block3_conv2" in a VGG, otherwise None."""
    match = re.match(r"conv\d+_block\d+|block\d+_(conv|bn)\d+", name)
    return match[0].replace("_bn", "_conv") if match else None


def stage_of(unit: str | None) -> str | None:
    """Returns the stage of a unit, such as "conv2" or "block3"."""
    return unit.partition("_")[0] if unit else None


def batch_norm_of(convolution: str) -> str:
    """Returns the batch norm after a convolution: "conv1_bn" for "conv1_conv", "block1_bn2" for "block1_conv2"."""
    return re.sub(r"conv(\d*)$", r"bn\1", convolution)


def is_preactivated(names: Iterable[str]) -> bool:
    """Returns whether the names are those of a ResNet in the pre-activation form (v2)."""
    return any("_preact_bn/" in name for name in names)


def shown(text: str, most: int = 120) -> str:
    """Returns a name or a message out of a file for one line of a terminal: short, and without control characters."""
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= most else f"{text[: most - 1]}…"
