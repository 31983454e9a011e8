"""Our file of weights in the networks of torchvision and timm, which name their tensors alike."""

import os
from typing import Any

# Operators for detection. PyPI's torchvision is built for CUDA, and beside a PyTorch for processors alone its library
# of operators cannot be loaded. torchvision then fails to be imported, because it describes these two all the same.
_DESCRIBED = ("nms", "qnms")
_kept: list[Any] = []  # a library's declarations last as long as the library


def import_torchvision() -> Any:
    """Imports torchvision, also beside a PyTorch for processors alone, and returns the module."""
    import torch

    if torch.version.cuda is None:
        library = torch.library.Library("torchvision", "DEF")
        for name in _DESCRIBED:
            library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        _kept.append(library)
    import torchvision

    return torchvision


def tensors_of(weights: str, *, head: bool = False) -> dict[str, Any]:
    """Returns the tensors of a safetensors file by name, floating-point ones in float32.

    Args:
        weights: Path of the file.
        head: Whether the last layer is among them.
    """
    from safetensors.torch import load_file

    found = {name: value.float() if value.is_floating_point() else value for name, value in load_file(weights).items()}
    return {name: value for name, value in found.items() if head or not name.startswith("fc.")}


def fill(network: Any, weights: str) -> None:
    """Loads all weights but those of the last layer into a network, which must have nothing else.

    Raises:
        ValueError: Names do not fit.
    """
    missing, unexpected = network.load_state_dict(tensors_of(weights), strict=False)
    if unexpected or any(not name.startswith("fc.") for name in missing):
        raise ValueError(f"{os.path.basename(weights)} does not fit: missing {missing}, unexpected {unexpected}")
