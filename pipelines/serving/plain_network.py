"""A trained network as a plain list of operations and arrays, which every format is written from.

It depends on NumPy alone, so that a converter's process reads it without TensorFlow.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

# All kinds of operations, with what each has in `numbers`. Images are [batch, height, width, channels].
#   affine        x · scale + shift, for each channel
#   convolution   kernel [height, width, in, out] and bias, with zeros beyond the edges
#   relu, add, concatenate, flatten, global_average, global_maximum
#   pad           zeros beyond the edges
#   maximum       of windows, in which nothing counts beyond the edges
#   average       of windows that lie side by side
#   repeat        a single pixel, so that it becomes `size` pixels
#   dense         kernel [in, out] and bias
KINDS = (
    "affine",
    "convolution",
    "relu",
    "add",
    "concatenate",
    "flatten",
    "global_average",
    "global_maximum",
    "pad",
    "maximum",
    "average",
    "repeat",
    "dense",
)
# Names of a file's input and outputs, whatever its format.
INPUT, PROBABILITIES, CLASS_INDEX = "images", "probabilities", "class_index"
_DESCRIPTION, _ARRAYS = "network.json", "arrays.npz"


@dataclass(frozen=True)
class Operation:
    """One operation of a network.

    Args:
        kind: One of `KINDS`.
        name: Name, which is also that of its output.
        inputs: Names of the operations whose outputs it takes; `INPUT` is the network's own.
        arrays: Its weights by name, float32.
        stride: Step in height and width, in pixels.
        size: Height and width of a window, or of what is repeated, in pixels.
        pads: Zeros above, on the left, below and on the right, in pixels.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    stride: tuple[int, int] = (1, 1)
    size: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def keeps_size(self) -> bool:
        """Whether a convolution gives as many pixels as it takes, which formats call "same"."""
        return self.stride == (1, 1) and self.pads == same_pads(*self.arrays["kernel"].shape[:2])


def same_pads(rows: int, columns: int) -> tuple[int, int, int, int]:
    """Returns the zeros around an image with which a convolution of stride 1 gives as many pixels as it takes."""
    return (rows - 1) // 2, (columns - 1) // 2, rows // 2, columns // 2


@dataclass(frozen=True)
class View:
    """What the network sees of a picture, see `pipelines.images.regions.evaluation_region`.

    Args:
        size: Height and width of the network's input, in pixels.
        view: "crop", "squeeze" or "pad".
        crop_fraction: Share of the resized shorter side that a crop keeps.
        interpolation: "bilinear" or "bicubic".
    """

    size: int
    view: str
    crop_fraction: float
    interpolation: str

    @property
    def side(self) -> int:
        """Pixels that the shorter side is resized to before a crop, or the side of the whole square."""
        return round(self.size / self.crop_fraction) if self.view == "crop" else self.size


@dataclass(frozen=True)
class PlainNetwork:
    """A classifier from uint8 images to probabilities.

    Args:
        operations: Operations in an order in which they can be computed; the last gives the logits, which are already
            divided by the temperature.
        classes: Names of the classes, in the order of the logits.
        view: What the network sees of a picture.
        temperature: Number that the logits were divided by.
        mirror: Whether the probabilities are averaged over each image and its mirror image.
    """

    operations: tuple[Operation, ...]
    classes: tuple[str, ...]
    view: View
    temperature: float = 1.0
    mirror: bool = False

    def facts(self) -> dict[str, Any]:
        """Returns what a file says of itself, for JSON."""
        return {
            "classes": self.classes,
            "view": asdict(self.view),
            "image_size": self.view.size,
            "temperature": float(self.temperature),
            "mirror": self.mirror,
        }

    def metadata(self) -> dict[str, str]:
        """Returns the same for formats that keep texts by name."""
        return {name: json.dumps(fact, ensure_ascii=False) for name, fact in self.facts().items()}

    def save(self, folder: Path) -> None:
        """Writes the network into an existing folder."""
        described: list[dict[str, Any]] = []
        arrays: dict[str, np.ndarray] = {}
        for number, each in enumerate(self.operations):
            arrays |= {f"{number}/{name}": value for name, value in each.arrays.items()}
            described.append({**vars(each), "arrays": sorted(each.arrays)})
        content = {**vars(self), "view": asdict(self.view), "operations": described}
        text = json.dumps(content, ensure_ascii=False)
        (folder / _DESCRIPTION).write_text(text, encoding="utf-8")
        np.savez(folder / _ARRAYS, **arrays, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> "PlainNetwork":
        """Reads a network that `save` has written."""
        content = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        with np.load(folder / _ARRAYS, allow_pickle=False) as stored:
            operations = tuple(
                Operation(
                    kind=each["kind"],
                    name=each["name"],
                    inputs=tuple(each["inputs"]),
                    arrays={name: stored[f"{number}/{name}"] for name in each["arrays"]},
                    stride=tuple(each["stride"]),
                    size=tuple(each["size"]),
                    pads=tuple(each["pads"]),
                )
                for number, each in enumerate(content["operations"])
            )
        view = View(**content["view"])
        return cls(operations, tuple(content["classes"]), view, content["temperature"], content["mirror"])
