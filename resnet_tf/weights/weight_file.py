"""The content of a file of weights, and the description that our own files contain."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from resnet_tf import __version__
from resnet_tf.weights.preprocessing import Preprocessing
from resnet_tf.weights.structure import Structure

# The name of the description in a file, as safetensors metadata, HDF5 attribute or member of an archive.
DESCRIPTION = "resnet_tf"
MAX_BYTES = 8 * 2**30


@dataclass(frozen=True)
class WeightFile:
    """The content of a file of weights: the tensors, and facts about the network that they do not show.

    Args:
        path: Path of the file.
        tensors: Arrays by "layer/variable", in Keras's names and axes.
        preprocessing: Preprocessing that the images need.
        structure: Structure of the network.
        assumed: Whether the preprocessing is only what files with such names usually need.
        architecture: Name of the network in `resnet_tf.architectures.ARCHITECTURES`; None if the file has none.
        image_size: Height and width of the images that it was trained on, in pixels; None if the file has none.
        classes: Names of the classes in the order of the logits; None if the file has none.
    """

    path: Path
    tensors: dict[str, np.ndarray]
    preprocessing: Preprocessing
    structure: Structure = field(default_factory=Structure)
    assumed: bool = False
    architecture: str | None = None
    image_size: int | None = None
    classes: tuple[str, ...] | None = None


def description(
    preprocessing: Preprocessing,
    structure: Structure,
    *,
    architecture: str | None = None,
    image_size: int | None = None,
    classes: Sequence[str] | None = None,
) -> str:
    """Returns the description of a file, as JSON.

    Args:
        preprocessing: Preprocessing that the images need.
        structure: Structure of the network.
        architecture: Name of the network in `resnet_tf.architectures.ARCHITECTURES`; None if unknown.
        image_size: Height and width of the images that it was trained on, in pixels; None if unknown.
        classes: Names of the classes in the order of the logits; None if unknown.
    """
    return json.dumps(
        {
            "architecture": architecture,
            "image_size": image_size,
            "classes": None if classes is None else list(classes),
            "preprocessing": asdict(preprocessing),
            "structure": asdict(structure),
            "versions": {"resnet_tf": __version__, "keras": keras.__version__},
        }
    )


def described(path: Path, tensors: dict[str, np.ndarray], text: str) -> WeightFile:
    """Returns a weight file from its tensors and its `description`, which an earlier version may have written.

    Raises:
        ValueError: The description is not one of ours.
    """
    try:
        fields = json.loads(text)
        preprocessing = dict(fields["preprocessing"])
        for name in ("mean", "deviation"):
            preprocessing[name] = tuple(preprocessing[name])
        return WeightFile(
            path,
            tensors,
            Preprocessing(**preprocessing),
            Structure(**fields["structure"]),
            architecture=_checked(fields.get("architecture"), str),
            image_size=_checked(fields.get("image_size"), int),
            classes=_names(fields.get("classes")),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"its description is not understood: {error}") from error


def _names(values: Any) -> tuple[str, ...] | None:
    names = _checked(values, list)
    return None if names is None else tuple(_checked(name, str) for name in names)


def _checked(value: Any, kind: type) -> Any:
    """Returns a value from outside, after a check that it is None or of the given kind."""
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{value!r} is not of the kind {kind.__name__}")
    return value
