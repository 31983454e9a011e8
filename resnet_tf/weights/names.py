"""One name for every tensor: keras.applications' layer name and the variable's, "conv2_block1_1_conv/kernel"."""

import re
from collections.abc import Mapping

import numpy as np

BACKBONE_KERNEL = re.compile(r"conv1_conv/kernel|conv\d+_block\d+_\d_conv/kernel")
HEAD = "predictions"

# torchvision's module names, which timm shares.
_TORCH_MODULES = (
    (re.compile(r"conv1"), "conv1_conv"),
    (re.compile(r"bn1"), "conv1_bn"),
    (re.compile(r"layer(\d+)\.(\d+)\.conv(\d)"), "conv{stage}_block{block}_{2}_conv"),
    (re.compile(r"layer(\d+)\.(\d+)\.bn(\d)"), "conv{stage}_block{block}_{2}_bn"),
    (re.compile(r"layer(\d+)\.(\d+)\.downsample\.0"), "conv{stage}_block{block}_0_conv"),
    (re.compile(r"layer(\d+)\.(\d+)\.downsample\.1"), "conv{stage}_block{block}_0_bn"),
    (re.compile(r"fc"), HEAD),
)
_TORCH_VARIABLES = {"weight": "kernel", "bias": "bias"}
_TORCH_BATCH_NORM_VARIABLES = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def is_torchvision(names: Mapping[str, object]) -> bool:
    """Whether these are a ResNet's tensors in torchvision's names."""
    return any(re.match(r"layer\d+\.\d+\.conv\d\.weight", name) for name in names)


def from_torchvision(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """torchvision's names and axes to Keras's. A name outside the table is kept as it is.

    Args:
        tensors: Kernels are [filters, channels, height, width] and [outputs, inputs].

    Returns:
        Kernels are [height, width, channels, filters] and [inputs, outputs].
    """
    return {
        keras_name(name): _to_keras_axes(tensor)
        for name, tensor in tensors.items()
        if not name.endswith("num_batches_tracked")
    }


def keras_name(torch_name: str) -> str:
    """ "layer1.0.conv1.weight" to "conv2_block1_1_conv/kernel"; any other name to itself."""
    module, _, variable = torch_name.rpartition(".")
    for pattern, template in _TORCH_MODULES:
        match = pattern.fullmatch(module)
        if match is None:
            continue
        layer = template
        if match.groups():
            stage, block = int(match[1]) + 1, int(match[2]) + 1
            layer = template.format(None, None, *match.groups()[2:], stage=stage, block=block)
        variables = _TORCH_BATCH_NORM_VARIABLES if layer.endswith("_bn") else _TORCH_VARIABLES
        return f"{layer}/{variables[variable]}" if variable in variables else torch_name
    return torch_name


def batch_norm_of(convolution: str) -> str:
    """The batch norm layer behind a convolution layer."""
    return convolution.removesuffix("_conv") + "_bn"


def _to_keras_axes(tensor: np.ndarray) -> np.ndarray:
    if tensor.ndim == 4:
        return tensor.transpose(2, 3, 1, 0)
    if tensor.ndim == 2:
        return tensor.T
    return tensor
