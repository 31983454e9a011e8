"""The rule by which values of more than 8 bits become the 256 levels that a network sees.

One scale holds for all images of a run, because a scale for each image would take the differences of brightness
between them away. Ordinary images of 8 bits are never scaled.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from resnet_tf.errors import UserError

INTEGER, FLOAT = "integer", "float"
# The depths of cameras, scanners and screens. A sensor of 12 bits may not use all of them in any picture, so that the
# next of these depths, rather than the next power of two, is taken for what was meant.
DEPTHS = (8, 10, 12, 14, 16)
_SMALL_DEPTHS = (1, 2, 4)
_PERCENTILES = (0.1, 99.9)
_SAMPLE = 1_000_000
_BAND = 4_000_000
# A picture in which the network sees fewer levels than this, of 256, has lost nearly everything.
FEW_LEVELS = 16


class Values(NamedTuple):
    """What values an image of more than 8 bits stores.

    Args:
        kind: `INTEGER` or `FLOAT`.
        low: The smallest value.
        high: The largest value.
        usual_low: The value that 0.1 % of the pixels are below.
        usual_high: The value that 0.1 % of the pixels are above.
    """

    kind: str
    low: float
    high: float
    usual_low: float
    usual_high: float

    def __str__(self) -> str:
        """The values as a manifest keeps them, from which `values_of` reads them again."""
        return " ".join([self.kind, *(f"{value:.17g}" for value in self[1:])])


class Scale(NamedTuple):
    """An affine map from stored values to levels: floor((value - low) * factor + offset), kept within 0 … 255."""

    low: float
    factor: float
    offset: float


@dataclass(frozen=True)
class ValueRange:
    """The stored values that become black and white, for all images of a run.

    Args:
        integers: Lowest and highest value of images that store integers; None where no such image was there when the
            run began. Each file is then scaled by the smallest usual depth (8, 10, 12, 14 or 16 bits) that holds its
            own values, and by its own lowest and highest value where there is no such depth.
        floats: The same for images that store floating-point numbers, whose usual ranges are 0 … 1 and 0 … 255.
    """

    integers: tuple[float, float] | None = None
    floats: tuple[float, float] | None = None

    def bounds(self, kind: str, low: float, high: float) -> tuple[float, float]:
        """Returns the values that become black and white in an image; the arguments are what `ends_of` returns."""
        known = self.integers if kind == INTEGER else self.floats
        return known or _usual_range(kind, low, high, DEPTHS) or (low, high)

    def loss(self, values: Values) -> str:
        """Returns what the network will not see of an image with these values, in words; "" where that is little."""
        bounds = self.bounds(values.kind, values.low, values.high)
        scale = scale_of(values.kind, bounds)
        ends = np.array([values.low, values.high])
        levels = np.clip(np.floor((ends - scale.low) * scale.factor + scale.offset), 0, 255)
        seen, stored = int(levels[1] - levels[0]) + 1, values.high - values.low
        said = f"values {values.low:g} … {values.high:g} in the range {bounds[0]:g} … {bounds[1]:g}"
        if seen < FEW_LEVELS and (stored >= seen if values.kind == INTEGER else stored > 0):
            return f"the network sees {seen} of 256 levels: {said}"
        if values.usual_low < bounds[0] or values.usual_high > bounds[1]:
            return f"the network sees what is beyond as black or white: {said}"
        return ""

    def losses(self, texts: Iterable[str]) -> list[str]:
        """Returns `loss` for each entry of the column "stored_values"; "" for an image of 8 bits."""
        return [self.loss(values) if (values := values_of(text)) else "" for text in texts]

    def in_words(self) -> str:
        """Returns the range in a few words, such as "integers 0 … 4095"."""
        named = {"integers": self.integers, "floats": self.floats}
        return " and ".join(
            f"{name} {low:g} … {high:g}" for name, pair in named.items() if pair for low, high in [pair]
        )


UNKNOWN = ValueRange()


def range_in_words(value_range: ValueRange, rule: str, texts: Iterable[str]) -> str:
    """Returns what --range has decided for a data set, "" where no image has more than 8 bits.

    Args:
        value_range: What `decide_range` has decided.
        rule: Value of --range.
        texts: The manifest's column "stored_values".
    """
    count = sum(map(bool, texts))
    if not count:
        return ""
    return f"{count} images have more than 8 bits: {value_range.in_words()} become black … white (--range {rule})"


def values_of(text: str) -> Values | None:
    """Reads what `str(Values)` wrote; None for "", which stands for an image of 8 bits."""
    if not text:
        return None
    kind, *numbers = text.split()
    return Values(kind, *map(float, numbers))


def range_of_config(content: dict[str, Any]) -> ValueRange:
    """Reads the range from a run's config.json; runs of versions without it, and imported networks, have none."""
    found = content.get("value_range") or {}
    pairs = {name: found.get(name) for name in ("integers", "floats")}
    return ValueRange(**{name: (float(pair[0]), float(pair[1])) if pair else None for name, pair in pairs.items()})


def decide_range(rule: str, texts: Iterable[str]) -> ValueRange:
    """Decides the scale of a data set.

    Args:
        rule: "auto" takes the smallest usual depth that holds all values (8, 10, 12, 14 or 16 bits; 0 … 1 or 0 … 255
            for floating-point numbers), and the percentiles where there is none. "type" takes the range of the stored
            type (0 … 65535; 0 … 1 for floating-point numbers). "percentiles" takes the lowest of the images' 0.1th
            percentiles and the highest of their 99.9th.
        texts: The manifest's column "stored_values".
    """
    found = [values for text in set(texts) if (values := values_of(text))]
    return ValueRange(*(_decide(rule, [v for v in found if v.kind == kind]) for kind in (INTEGER, FLOAT)))


def _decide(rule: str, found: list[Values]) -> tuple[float, float] | None:
    if not found:
        return None
    low, high = min(v.low for v in found), max(v.high for v in found)
    usual = min(v.usual_low for v in found), max(v.usual_high for v in found)
    kind = found[0].kind
    if rule == "type":
        return _range_of_type(kind, low, high)
    if rule == "auto" and (natural := _usual_range(kind, low, high, (*_SMALL_DEPTHS, *DEPTHS))):
        return natural
    return usual if usual[0] < usual[1] else (low, high)


def _usual_range(kind: str, low: float, high: float, depths: tuple[int, ...]) -> tuple[float, float] | None:
    if low < 0:
        return None
    tops = [float(2**depth - 1) for depth in depths] if kind == INTEGER else [1.0, 255.0]
    return next(((0.0, top) for top in tops if high <= top), None)


def _range_of_type(kind: str, low: float, high: float) -> tuple[float, float]:
    if kind == FLOAT:
        return 0.0, 1.0
    types = ((0.0, 65535.0), (-32768.0, 32767.0), (0.0, 2.0**31 - 1), (-(2.0**31), 2.0**31 - 1))
    return next(pair for pair in types if pair[0] <= low and high <= pair[1])


def scale_of(kind: str, bounds: tuple[float, float]) -> Scale:
    """Returns the map from values to levels.

    Whole bits are cut off where the range is a depth of at least 8 bits, as decoders do that make 8 bits of 16.

    Args:
        kind: `INTEGER` or `FLOAT`.
        bounds: Values that become black and white.
    """
    low, high = bounds
    if kind == INTEGER and low == 0 and high in [2**depth - 1 for depth in DEPTHS]:
        return Scale(0.0, 256.0 / (high + 1.0), 0.0)
    return Scale(low, 255.0 / (high - low) if high > low else 0.0, 0.5)


def ends_of(array: np.ndarray) -> tuple[str, float, float]:
    """Returns the kind of the values that an image stores, `INTEGER` or `FLOAT`, the smallest and the largest of them.

    Args:
        array: Integers or floating-point numbers [height, width, channels], without alpha.

    Raises:
        UserError: Some are NaN or infinite.
    """
    kind = FLOAT if array.dtype.kind == "f" else INTEGER
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        wrong = array.size - int(np.isfinite(array).sum())
        raise UserError(f"{wrong} of its {array.size} values are NaN or infinite; replace them by numbers")
    return kind, low, high


def look_at_values(array: np.ndarray) -> Values:
    """Returns what values an image stores; its percentiles take longer than `ends_of`. Args and Raises are the same."""
    sample = array.reshape(-1)[:: max(1, array.size // _SAMPLE)]
    return Values(*ends_of(array), *map(float, np.percentile(sample, _PERCENTILES)))


def to_levels(array: np.ndarray, scale: Scale) -> np.ndarray:
    """Applies a scale, some rows at a time, so that a large picture needs little memory beside itself.

    Args:
        array: Numbers [height, width, channels].
        scale: The scale.

    Returns:
        uint8 [height, width, channels].
    """
    levels = np.empty(array.shape, np.uint8)
    for rows in bands(array.shape):
        scaled = (array[rows].astype(np.float64) - scale.low) * scale.factor + scale.offset
        levels[rows] = np.clip(np.floor(scaled), 0, 255)
    return levels


def bands(shape: tuple[int, ...]) -> Iterable[slice]:
    """Yields slices of rows of an array, each of about four million values."""
    step = max(1, _BAND // max(1, int(np.prod(shape[1:]))))
    return (slice(start, start + step) for start in range(0, shape[0], step))
