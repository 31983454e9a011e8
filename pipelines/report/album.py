"""The photos inside a page: which ones, in what order of importance, and small copies of them as data URIs.

A page has room for some of them only (`pipelines.report.page`), so that they are ordered by what a reader asks first.
"""

import base64
import io
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.data.pillow_decode import decode_opened, open_image
from pipelines.data.value_range import UNKNOWN, ValueRange

# Longer side of a photo on the page, in pixels, and of a training photo beside it.
LARGE, SMALL = 144, 72
# The surest mistakes and the least sure right answers that the page lists.
LISTED = 48
# Photos that are looked at for a page; more would not find room.
MOST_PHOTOS = 2400
# Positions of a map of evidence that people look at, along each side.
GRID = 14
_QUALITY = 72


@dataclass(frozen=True)
class Frame:
    """The part of a photo that the network sees, in shares of the photo's width and height.

    Args:
        left: Left edge; it is negative where the view reaches beyond the photo.
        top: Upper edge.
        width: Width.
        height: Height.
    """

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class PagePhoto:
    """A photo on the page.

    Args:
        image: Number of the image among the predictions.
        source: Small copy as a data URI, "" where the file cannot be read.
        frame: What the network sees of it.
        maps: Evidence for some classes, int8 [GRID, GRID] each, by the number of the class; 127 is the largest
            evidence in any direction, which is the value of `scales`.
        scales: Largest evidence for or against each of these classes at a position, in logits.
        logits: Logit of each of these classes.
        near: Places of the nearest training photos among `Album.training`, with the cosine of both features.
    """

    image: int
    source: str = ""
    frame: Frame | None = None
    maps: dict[int, np.ndarray] = field(default_factory=dict)
    scales: dict[int, float] = field(default_factory=dict)
    logits: dict[int, float] = field(default_factory=dict)
    near: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class OtherPhoto:
    """A photo that is none of those that are judged, such as one of the training.

    Args:
        path: Path in the manifest.
        label: Name of its class.
        source: Small copy as a data URI.
    """

    path: str
    label: str
    source: str = ""


@dataclass(frozen=True)
class Album:
    """The photos of a page.

    Args:
        photos: Photos of the images that were judged, the most important first.
        training: Photos that stand beside them.
        method: How the maps were made, one of the names in `pipelines.evaluation.evidence`; "" without maps.
        compared: In words, among which photos the nearest ones were looked for.
    """

    photos: Sequence[PagePhoto] = ()
    training: Sequence[OtherPhoto] = ()
    method: str = ""
    compared: str = ""


def order_of_photos(labels: np.ndarray, predicted: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Returns the numbers of all images, those first that a reader of a report asks for first.

    First are the surest mistakes and the least sure right answers, then some of each cell of the confusion matrix, the
    surest mistakes of each and the least sure right answers, and then the rest.

    Args:
        labels: int [n], true class of each image.
        predicted: int [n], predicted class of each image.
        confidence: float [n], probability of the predicted class.
    """
    wrong = labels != predicted
    listed = np.full(len(labels), False)
    for places in (surest_mistakes(wrong, confidence), least_sure_right(wrong, confidence)):
        listed[places[:LISTED]] = True
    cells = labels.astype(np.int64) * (max(int(predicted.max()), int(labels.max())) + 1) + predicted
    by_cell = np.lexsort((np.where(wrong, -confidence, confidence), cells))
    starts = np.flatnonzero(np.r_[True, np.diff(cells[by_cell]) != 0])
    sizes = np.diff(np.r_[starts, len(cells)])
    rank = np.empty(len(labels), np.int64)
    rank[by_cell] = np.arange(len(labels)) - np.repeat(starts, sizes)
    in_cell = np.empty(len(labels), np.int64)
    in_cell[by_cell] = np.repeat(sizes, sizes)
    # The cells off the diagonal show a second and a third photo before a class shows its second right answer.
    turn = np.where(wrong, rank, 3 * rank)
    return np.lexsort((-in_cell, turn, ~listed))


def surest_mistakes(wrong: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Returns the numbers of the images that are wrong, the surest first."""
    found = np.flatnonzero(wrong)
    return found[np.argsort(-confidence[found], kind="stable")]


def least_sure_right(wrong: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Returns the numbers of the images that are right, the least sure first."""
    found = np.flatnonzero(~wrong)
    return found[np.argsort(confidence[found], kind="stable")]


def small_copies(paths: Iterable[Path], longer: int, value_range: ValueRange = UNKNOWN) -> list[tuple[str, float]]:
    """Returns small copies of pictures as data URIs, "" for a file that cannot be read, and width by height of each.

    Args:
        paths: Paths of the pictures.
        longer: Longer side of the copies, in pixels.
        value_range: Stored values that become black and white, where there are more than 8 bits.
    """
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda path: small_copy(path, longer, value_range), paths))


def small_copy(path: Path, longer: int, value_range: ValueRange = UNKNOWN) -> tuple[str, float]:
    """Returns a small copy of a picture, and its width by its height; see `small_copies`."""
    try:
        with open_image(path) as file:
            file.draft(None, (2 * longer, 2 * longer))  # a JPEG is decoded smaller, in its own mode
            picture = Image.fromarray(decode_opened(file, lambda: open_image(path), value_range)[0])
    except Exception:  # Pillow's decoders raise many kinds of errors for damaged bytes
        return "", 1.0
    aspect = picture.width / picture.height
    picture.thumbnail((longer, longer))
    return picture_uri(picture), aspect


def picture_uri(picture: Image.Image) -> str:
    """Returns a picture as a data URI of a WebP, which takes a third less room than a JPEG."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=_QUALITY, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def frame_of(aspect: float, view: str, crop_fraction: float) -> Frame:
    """Returns what the network sees of a photo, up to the rounding of pixels.

    Args:
        aspect: Width of the photo by its height.
        view: "crop", "squeeze" or "pad", see `pipelines.images.regions.evaluation_region`.
        crop_fraction: Share of the shorter side that the view "crop" keeps.
    """
    if view == "squeeze":
        return Frame(0.0, 0.0, 1.0, 1.0)
    side = min(aspect, 1.0) * crop_fraction if view == "crop" else max(aspect, 1.0)  # in heights of the photo
    width, height = side / aspect, side
    return Frame((1 - width) / 2, (1 - height) / 2, width, height)


def levels_of(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns a map as int8, and the largest absolute value, which is 127 there."""
    largest = float(np.abs(values).max())
    return np.round(values * (127 / max(largest, 1e-30))).astype(np.int8), largest


def packed(values: np.ndarray, kind: Any) -> str:
    """Returns numbers in base64, little-endian."""
    return base64.b64encode(np.ascontiguousarray(values).astype(np.dtype(kind).newbyteorder("<")).tobytes()).decode()
