"""Decides whether a file's tensors are the weights of a network, and says what else was seen in them.

The rule: a file fills the stem and every convolution of the backbone, each with the batch norm behind it, and has no
layers that the backbone lacks. Only convolutions of the last stage may be missing, since what stands before them is
still what the file's network computed. Heads may differ.
"""

import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from resnet_tf.errors import UserError
from resnet_tf.weights.names import (
    BACKBONE_KERNEL,
    BACKBONE_LAYER,
    batch_norm_of,
    shown,
    stage_of,
    unit_of,
    variables_of,
)

# A file that lacks more than a quarter of the convolutions is of a different network.
MINIMUM_MATCHED = 0.75
# The names of layers inside of a backbone, in all conventions. A classifier, a projection or an optimizer has others.
_INSIDE = re.compile(
    r"(conv\d+|bn\d+|gn\d+|norm\d+|layer\d+|block\d+|res\d\w*|scale\d\w*|stem|maxpool|downsample|features|stages?|post"
    r"|resnet|embedder|encoder|visual|backbone)[._/].*",
    re.DOTALL,
)

Shapes = Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]


def check_belongs(
    path: object,
    model: keras.Model,
    tensors: Mapping[str, np.ndarray],
    missing: list[str],
    left_over: list[str],
    wrong_shape: Shapes,
) -> tuple[int, int]:
    """Checks that a file is of a network.

    Args:
        path: Path of the file, for the error.
        model: Network that is to be filled.
        tensors: The file's arrays by "layer/variable".
        missing: Names of the model's tensors that the file does not have.
        left_over: Names of the file's tensors that the model does not have.
        wrong_shape: Pairs (shape in the model, shape in the file) by name.

    Returns:
        The numbers of the model's convolutions, (filled, all).

    Raises:
        UserError: The file is of a different network; the message says what in the file shows it.
    """
    variables = list(variables_of(model))
    kernels = [name for name in variables if BACKBONE_KERNEL.fullmatch(name)]
    lacking = set(missing)
    filled = sum(name not in lacking and name not in wrong_shape for name in kernels)

    differing = _first_difference(wrong_shape, model.name)
    seen = seen_in(tensors) or differing

    def refuse(what: str) -> UserError:
        return UserError(
            f"the weights {str(path)!r} are for another architecture: {what}"
            + (f"; {seen}" if seen and seen != what else "")
        )

    if filled < MINIMUM_MATCHED * len(kernels):
        raise UserError(
            f"the weights {str(path)!r} fill only {filled} of the {len(kernels)} convolutions of {model.name}"
            + (f", and {seen}" if seen else "")
            + "; are they for another architecture?"
        )
    foreign = [name for name in left_over if _INSIDE.fullmatch(name) and not _is_bias_of_missing(name, lacking)]
    if foreign:
        raise refuse(f"the file has {len(foreign)} tensors that the network has not, such as {shown(foreign[0])}")
    shorter = _shorter_stage(variables, tensors)
    if shorter:
        raise UserError(
            f"the weights {str(path)!r} are for a shallower network than {model.name}: they end before {shorter}"
        )
    if differing:
        raise refuse(differing)
    needed = _needed(variables, lacking)
    if needed:
        raise refuse(f"the file lacks {len(needed)} tensors of {model.name}, such as {needed[0]}")
    return filled, len(kernels)


def seen_in(tensors: Mapping[str, np.ndarray]) -> str:
    """Returns in words what in a file shows another architecture than the papers', or ""."""
    names = [name for name in tensors if not name.endswith("num_batches_tracked")]
    for pattern, what in _SIGNS:
        found = next(filter(pattern.search, names), None)
        if found:
            return f"the file has {what} ({shown(found)})"
    for name, tensor in tensors.items():
        layer, _, variable = name.partition("/")
        if variable == "gamma" and f"{layer}/moving_mean" not in tensors:
            return f"the file has normalization without moving statistics ({shown(layer)}), as group norm has"
        before = tensors.get(name.replace("_2_conv", "_1_conv")) if name.endswith("_block1_2_conv/kernel") else None
        if before is not None and tensor.ndim == before.ndim == 4 and tensor.shape[2] < before.shape[3]:
            return f"the file has grouped convolutions ({name} is {tensor.shape}), as ResNeXt has"
    return ""


# What names alone show. The first column stands for names as PyTorch and Keras have them, after the translation of
# those that are known.
_SIGNS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), what)
    for pattern, what in (
        (
            r"^conv1\.\d+\.|^stem\.conv\d|^conv1_\d_conv/",
            "a stem of several convolutions, as ResNet-C, -D, -S and -T have",
        ),
        (r"\bse\.conv\.", "channel attention in its blocks, as ECA nets have"),
        (r"\bse\.|\bse_module\.|_se_|\.attn\.", "channel attention in its blocks, as SE nets have"),
        (r"\.filt$", "filters against aliasing"),
        (r"downsample\.2\.", "a pooling before its projections, as ResNet-D has"),
        (r"\.convs\.\d", "convolutions of several scales, as Res2Net has"),
        (
            r"weight_(g|v|orig|mask)$|\.parametrizations\.",
            "convolutions in parts, which training frameworks put together",
        ),
    )
)


def _first_difference(wrong_shape: Shapes, model: str) -> str:
    for name, (here, there) in wrong_shape.items():
        if BACKBONE_LAYER.fullmatch(name):
            return f"{name} is {there} in the file and {here} in {model}"
    return ""


def random_layers(missing: list[str]) -> list[str]:
    """Returns the names of the backbone's layers that a file did not fill."""
    return list(dict.fromkeys(name.partition("/")[0] for name in missing if BACKBONE_LAYER.fullmatch(name)))


def _is_bias_of_missing(name: str, missing: set[str]) -> bool:
    layer, _, variable = name.partition("/")
    return variable == "bias" and f"{layer}/kernel" in missing


def _needed(variables: list[str], missing: set[str]) -> list[str]:
    """Returns the missing tensors that are neither of a convolution of the last stage nor of the batch norm behind."""
    last = [stage_of(unit_of(name)) for name in variables if unit_of(name)][-1:]
    convolutions = {name.partition("/")[0] for name in missing if BACKBONE_KERNEL.fullmatch(name)}
    optional = {layer for layer in convolutions if stage_of(unit_of(layer)) in last and unit_of(layer)}
    optional |= {batch_norm_of(layer) for layer in optional}
    return [
        name
        for name in variables
        if name in missing and BACKBONE_LAYER.fullmatch(name) and name.partition("/")[0] not in optional
    ]


def _shorter_stage(variables: list[str], tensors: Mapping[str, Any]) -> str | None:
    """Returns the first block that the file lacks although it has the block before it in the same stage, or None."""
    there = {unit for name in tensors if (unit := unit_of(name))}
    previous = None
    for unit in dict.fromkeys(filter(None, map(unit_of, variables))):
        if previous in there and unit not in there and stage_of(unit) == stage_of(previous):
            return unit
        previous = unit
    return None
