"""Maps the names of Kaiming He's Caffe models (KaimingHe/deep-residual-networks) to Keras's."""

import re

import numpy as np

from resnet_tf.errors import UserError
from resnet_tf.weights.names import shown

# Examples are res2a_branch2b and scale4f_branch2a; in ResNet-101 and ResNet-152 also bn3b7_branch2c, the block after
# 3b6.
_IN_BLOCK = re.compile(r"(res|bn|scale)(\d)(?:([a-z])|b(\d+))_branch(1|2a|2b|2c)")
_CONVOLUTIONS = {"1": 0, "2a": 1, "2b": 2, "2c": 3}
# The kind and Keras's name of each layer outside the blocks.
_OTHERS = {
    "conv1": ("res", "conv1_conv"),
    "bn_conv1": ("bn", "conv1_bn"),
    "scale_conv1": ("scale", "conv1_bn"),
    "fc1000": ("fc", "predictions"),
}


def from_caffe(blobs: dict[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    """Converts Kaiming He's names and axes to Keras's.

    Args:
        blobs: Dictionary from a layer's name to its blobs. Kernels are [filters, channels, height, width] and
            [outputs, inputs]; axes of length 1 before those do not matter.

    Returns:
        Dictionary from "layer/variable" to an array. Kernels are [height, width, channels, filters] and
        [inputs, outputs]. The blobs of a layer that He's networks do not have are named "name/0", "name/1" …
    """
    tensors: dict[str, np.ndarray] = {}
    for name, arrays in blobs.items():
        kind, layer = _keras_layer(name)
        variables = _variables(kind, arrays)
        if not variables:
            layer, variables = name, {str(index): array for index, array in enumerate(arrays)}
        for variable, array in variables.items():
            if f"{layer}/{variable}" in tensors:
                raise UserError(f"the weights have two tensors for {layer}/{variable}, the second in {shown(name)!r}")
            tensors[f"{layer}/{variable}"] = array
    return tensors


def _keras_layer(name: str) -> tuple[str, str]:
    match = _IN_BLOCK.fullmatch(name)
    if match is None:
        return _OTHERS.get(name, ("", ""))
    kind, stage, letter, number, branch = match.groups()
    block = ord(letter) - ord("a") + 1 if letter else int(number) + 1
    suffix = "conv" if kind == "res" else "bn"
    return kind, f"conv{stage}_block{block}_{_CONVOLUTIONS[branch]}_{suffix}"


def _variables(kind: str, blobs: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Returns Keras's variables of a layer; none if the kind is unknown or the number of blobs is unexpected."""
    match kind, blobs:
        case "res", [kernel]:
            return {"kernel": kernel.transpose(2, 3, 1, 0)}
        case "res", [kernel, bias]:
            return {"kernel": kernel.transpose(2, 3, 1, 0), "bias": bias.ravel()}
        case "fc", [kernel, bias]:
            return {"kernel": kernel.reshape(kernel.shape[-2:]).T, "bias": bias.ravel()}
        case "scale", [gamma, beta]:
            return {"gamma": gamma.ravel(), "beta": beta.ravel()}
        case "bn", [mean, variance, factor]:
            # Caffe keeps sums and the factor to divide them by. A factor of 0 means that no batch was seen, and gives
            # 0 (src/caffe/layers/batch_norm_layer.cpp).
            weight = 1 / factor.item() if factor.item() else 0.0
            return {"moving_mean": mean.ravel() * weight, "moving_variance": variance.ravel() * weight}
    return {}
