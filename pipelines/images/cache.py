"""The cache keeps decoded pictures in memory or in a file, so that later epochs need not decode them again.

The network sees the same bits with the cache as without it. For a training image, the cache holds the whole upright
picture at every scale that a random crop can ask for; the crop is cut and resized exactly as it is when only its
window is decoded from the file. A crop that needs a different scale is decoded from the file. For a validation image,
the cache holds the evaluation's view, because that view is the same in every epoch.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL
import tensorflow as tf

from pipelines.console.terminal import progress, say
from pipelines.images.augment import AUGMENTATIONS
from pipelines.images.decode import ChooseRegion, at_scale, decode_scaled
from pipelines.images.free_space import check_disk, check_memory, megabytes
from pipelines.images.lost_images import LostImage, lost_images_named
from pipelines.images.regions import RATIOS
from pipelines.images.stream import Cached, ImageSource, InputSpec, evaluation_stream, mapped
from pipelines.runs.files import write_atomically
from pipelines.runs.temporaries import WRITING
from resnet_tf import __version__

_SUFFIX = ".pixels"
_CHANNELS = 3
_JPEG = b"\xff\xd8\xff"
_FIRST_TRANSPOSED = 5  # EXIF orientations from this one on exchange rows and columns
# The relative error that `_scales` allows in the extent of a crop, because both sides are rounded to whole pixels.
_SLACK = 0.01
_BATCH = 32


@dataclass(frozen=True)
class Cache:
    """The decoded pictures of a run, as `open_cache` returns them.

    Args:
        pixels: uint8 [bytes], all pictures one after the other, in memory or mapped from a file.
        plan: Position of each picture in `pixels`.
    """

    pixels: np.ndarray
    plan: "_Plan"

    def of(self, split: str) -> Cached:
        """Returns the function by which the stream of a split, "train" or "val", takes its images from the cache."""
        return {"train": self._training_crop, "val": self._evaluation_view}[split]

    def _training_crop(self, index: Any, choose: ChooseRegion, decode: Callable[[], Any]) -> Any:
        plan = self.plan
        orientation = tf.constant(plan.orientations)[index]
        shape = tf.constant(plan.shapes)[index]
        region = choose(shape)
        ratio_index = tf.where(tf.constant(plan.is_jpeg)[index], region.ratio_index(), 0)
        start = tf.constant(plan.starts)[index][ratio_index]

        def crop() -> Any:
            scaled, ratio, smaller = at_scale(region, shape, ratio_index, orientation)
            begin, extent = scaled.window(smaller, ratio)
            return scaled.render(self._window(start, smaller, begin, extent), begin, ratio)

        return tf.cond(start >= 0, crop, decode)

    def _evaluation_view(self, index: Any, choose: ChooseRegion, decode: Callable[[], Any]) -> Any:
        size = self.plan.view_size
        start = self.plan.views_start + index * (size * size * _CHANNELS)
        sides = tf.constant([size, size])
        return tf.ensure_shape(self._window(start, sides, tf.zeros_like(sides), sides), (size, size, _CHANNELS))

    def _window(self, start: Any, shape: Any, begin: Any, extent: Any) -> Any:
        """Returns a part of a cached picture.

        Args:
            start: Scalar int64, the picture's first byte in `pixels`.
            shape: int32 [2], height and width of the picture.
            begin: int32 [2], top and left of the part.
            extent: int32 [2], height and width of the part.

        Returns:
            uint8 [*extent, 3].
        """
        numbers = tf.concat([[start], *(tf.cast(pair, tf.int64) for pair in (shape, begin, extent))], 0)
        window = tf.numpy_function(self._read, [numbers], tf.uint8, stateful=False)
        return tf.ensure_shape(window, (None, None, _CHANNELS))

    def _read(self, numbers: np.ndarray) -> np.ndarray:
        start, _, width, top, left, rows, columns = (int(number) for number in numbers)
        start += top * width * _CHANNELS
        band = self.pixels[start : start + rows * width * _CHANNELS].reshape(rows, width, _CHANNELS)
        return np.ascontiguousarray(band[:, left : left + columns])


@dataclass(frozen=True)
class _Plan:
    """The pictures that the cache holds and their positions, known before any picture is decoded.

    Args:
        is_jpeg: bool [images], whether libjpeg decodes the training image and so can use any of `RATIOS`.
        orientations: int32 [images], EXIF orientation of each training image.
        shapes: int32 [images, 2], height and width of each upright training image.
        starts: int64 [images, ratios], first byte of the training image at each scale; -1 where it is not kept.
        views_start: First byte of the evaluation's views, which follow the training images.
        views: Number of the evaluation's views.
        view_size: Height and width of a view, in pixels.
        fingerprint: Hash of everything that the pixels depend on.
    """

    is_jpeg: np.ndarray
    orientations: np.ndarray
    shapes: np.ndarray
    starts: np.ndarray
    views_start: int
    views: int
    view_size: int
    fingerprint: str

    @property
    def size(self) -> int:
        """Size of the cache in bytes."""
        return self.views_start + self.views * self.view_size**2 * _CHANNELS

    @property
    def kept(self) -> np.ndarray:
        """Numbers of the image and of the ratio of each kept training picture, int32 [pictures, 2], in their order."""
        return np.argwhere(self.starts >= 0).astype(np.int32)


def open_cache(where: str, folder: Path, rows: dict[str, pd.DataFrame], root: Path, input_spec: InputSpec) -> Cache:
    """Decodes all pictures, or reuses the file that an interrupted run has left.

    Args:
        where: "ram" or "disk".
        folder: Folder of the cache's file, in a run's directory. Files of other caches in it are removed.
        rows: The manifest's rows by split, "train" and "val".
        root: Folder that the manifest's paths are relative to.
        input_spec: Size and crops of the images.

    Returns:
        The complete cache.

    Raises:
        UserError: There is not enough room for the cache, or the disk became full. No partial file is left behind.
        LostImage: An image is missing or has changed since the run began.
    """
    plan = _plan(rows, root, input_spec)
    pictures = len(plan.kept)
    what = f"{pictures} pictures of {len(rows['train'])} training images and {plan.views} validation images"
    place = folder / f"{plan.fingerprint}{_SUFFIX}"
    if where == "disk" and place.exists() and place.stat().st_size == plan.size:
        say(f"cache: {what} are in {str(place)!r} already")
        return Cache(_mapped(place, plan), plan)
    remove_cache(folder)
    say(f"cache: {what}, {megabytes(plan.size)} {'in memory' if where == 'ram' else f'in {str(place)!r}'}")
    decoded = progress(_decoded(plan, rows, root, input_spec), pictures + plan.views, "cached", "picture")
    if where == "ram":
        check_memory(plan.size, "--cache ram")
        return Cache(_filled(decoded, plan), plan)
    check_disk(plan.size, folder.parent, "--cache disk")
    write_atomically(place, lambda temporary: _write(decoded, temporary))
    return Cache(_mapped(place, plan), plan)


def remove_cache(folder: Path) -> None:
    """Removes the file of a cache, complete or half written, and its folder."""
    for pattern in (f"*{_SUFFIX}", f"{WRITING}*"):
        for file in folder.glob(pattern):
            file.unlink()
    if folder.exists():
        folder.rmdir()


def _mapped(place: Path, plan: _Plan) -> np.ndarray:
    return np.asarray(np.memmap(place, np.uint8, "r", shape=(plan.size,)))


def _filled(decoded: Iterator[np.ndarray], plan: _Plan) -> np.ndarray:
    pixels, end = np.empty(plan.size, np.uint8), 0
    for picture in decoded:
        start, end = end, end + picture.size
        pixels[start:end] = picture.reshape(-1)
    return pixels


def _write(decoded: Iterator[np.ndarray], temporary: Path) -> None:
    with temporary.open("wb") as file:
        for picture in decoded:
            file.write(picture.data)


def _decoded(plan: _Plan, rows: dict[str, pd.DataFrame], root: Path, input_spec: InputSpec) -> Iterator[np.ndarray]:
    """Yields all pictures in the plan's order: first those of the training images, then the evaluation's views."""
    train, kept = rows["train"], plan.kept
    files = [str(root / path) for path in train["path"]]
    columns = (np.array(files, object), train["decoder"].to_numpy(object), plan.orientations)
    entries = tf.data.Dataset.from_tensor_slices((*(column[kept[:, 0]] for column in columns), kept[:, 1]))
    whole = mapped(entries, partial(decode_scaled, value_range=input_spec.value_range), tf.data.AUTOTUNE)
    ratios = np.array(RATIOS)
    with lost_images_named(train, root, value_range=input_spec.value_range):
        for (image, ratio_index), picture in zip(kept, whole.as_numpy_iterator(), strict=True):
            if picture.shape[:2] != tuple(-(-plan.shapes[image] // ratios[ratio_index])):
                raise LostImage(
                    f"{files[image]!r} is another picture than when the run began; put that back, and the same "
                    "command continues"
                )
            yield picture
    if rows["val"].empty:
        return
    with lost_images_named(rows["val"], root, _BATCH, input_spec.value_range) as watched:
        for images, _ in watched(evaluation_stream(ImageSource(rows["val"], root, []), input_spec, _BATCH)):
            yield from images.numpy()


def _plan(rows: dict[str, pd.DataFrame], root: Path, input_spec: InputSpec) -> _Plan:
    train = rows["train"]
    orientations = train["orientation"].to_numpy(np.int32)
    shapes = train[["height", "width"]].to_numpy(np.int32)
    transposed = orientations >= _FIRST_TRANSPOSED
    shapes[transposed] = shapes[transposed, ::-1]
    with_pillow = (train["decoder"] == "pillow").to_numpy()
    is_jpeg = np.array([_begins_as_jpeg(root / path) for path in train["path"]], bool) & ~with_pillow

    wanted = np.where(is_jpeg[:, None], _scales(input_spec, shapes), np.arange(len(RATIOS)) == 0)
    # For a transposed TIFF, Pillow reports sometimes the stored and sometimes the upright height and width.
    wanted &= ~(with_pillow & transposed)[:, None]
    smaller = -(-shapes[:, None].astype(np.int64) // np.array(RATIOS)[:, None])
    sizes = np.where(wanted, smaller.prod(-1) * _CHANNELS, 0)
    ends = sizes.cumsum().reshape(sizes.shape)
    return _Plan(
        is_jpeg=is_jpeg,
        orientations=orientations,
        shapes=shapes,
        starts=np.where(wanted, ends - sizes, -1),
        views_start=int(sizes.sum()),
        views=len(rows["val"]),
        view_size=input_spec.size,
        fingerprint=_fingerprint(rows, root, input_spec),
    )


def _scales(input_spec: InputSpec, shapes: np.ndarray) -> np.ndarray:
    """Returns which of the scales in `RATIOS` the random crops of each JPEG picture can ask for.

    Args:
        input_spec: Size and crops of the images.
        shapes: int [images, 2], height and width of each picture.

    Returns:
        bool [images, ratios].
    """
    crop, rounding = AUGMENTATIONS[input_spec.augment].crop, 1.0
    if input_spec.view == "pad":  # crops are those of the padded square
        if crop != "random":  # the shorter side is rounded to whole pixels, which matters where these are few
            pixels = input_spec.size * shapes.min(axis=1) / shapes.max(axis=1)
            rounding = np.minimum(pixels, pixels / (pixels + 0.5))
        shapes = shapes.max(axis=1, keepdims=True).repeat(2, axis=1)
    elif input_spec.view == "squeeze":  # there is as much detail as the shorter side has
        shapes = shapes.min(axis=1, keepdims=True).repeat(2, axis=1)
    shorter = shapes.min(axis=1)
    if crop == "whole":
        shortest = longest = shorter
    elif crop == "jittered":
        shortest, longest = shorter * (224 / 480), shorter * (224 / 256)
    else:  # the narrowest crop has the smallest area and an aspect ratio of 3/4; if no crop fits, the whole is taken
        shortest = np.minimum(np.sqrt(input_spec.min_area * 3 / 4 * shapes.prod(axis=1, dtype=np.float64)), shorter)
        longest = shorter
    index = np.arange(len(RATIOS))
    low = _ratio_indices((1 - _SLACK) * rounding * shortest - 1, input_spec.size)
    high = _ratio_indices((1 + _SLACK) * longest + 1, input_spec.size)
    return (low[:, None] <= index) & (index <= high[:, None])


def _ratio_indices(extents: np.ndarray, size: int) -> np.ndarray:
    """Returns `Region.ratio_index` for many regions at once.

    Args:
        extents: float [regions], the shorter side of each region, in pixels of the whole picture.
        size: Height and width of the resulting image, in pixels.

    Returns:
        int [regions].
    """
    return np.maximum((extents[:, None] / np.array(RATIOS) >= size).sum(axis=1) - 1, 0)


def _begins_as_jpeg(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_JPEG)) == _JPEG
    except OSError:  # decoding reports the missing file by name later
        return False


def _fingerprint(rows: dict[str, pd.DataFrame], root: Path, input_spec: InputSpec) -> str:
    """Returns a hash of everything that the pixels depend on; a changed file shows in its size or modification time."""
    digest = hashlib.sha256(repr((__version__, tf.__version__, PIL.__version__, input_spec)).encode())
    columns = ["path", "decoder", "orientation", "width", "height", "sha256"]
    for split, table in rows.items():
        for row in table[columns].itertuples(index=False, name=None):
            digest.update(repr((split, *row, *_size_and_time(root / row[0]))).encode())
    return digest.hexdigest()[:32]


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns
