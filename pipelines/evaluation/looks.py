"""Several looks at each image at the test, whose probabilities are averaged: mirror images, ten crops, several scales.

Ten crops are the four corners and the centre with their mirror images (Krizhevsky et al. 2012). At several scales the
network sees the whole picture, its shorter side resized to each of them ("fully-convolutional form"). Both are in He et
al. 2015, section 3.4.
"""

from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from pipelines.images.decode import decode_file
from pipelines.images.stream import ImageSource, InputSpec, evaluation_stream, mapped
from resnet_tf.errors import UserError

TEN = 10
_CORNERS_AND_CENTRE = (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5)


@dataclass(frozen=True)
class Looks:
    """What is averaged over.

    Args:
        mirror: Whether each image is looked at together with its mirror image.
        crops: Number of crops, 1 or 10; the ten have mirror images among them.
        scales: Lengths of the shorter side, in pixels; none for the usual size.
    """

    mirror: bool = False
    crops: int = 1
    scales: tuple[int, ...] = ()

    @property
    def mirrored(self) -> bool:
        """Whether mirror images are looked at."""
        return self.mirror or self.crops == TEN

    def in_words(self) -> str:
        """Returns what is averaged over, with a comma in front; "" if it is nothing."""
        words = f", {self.crops} crops" if self.crops > 1 else ""
        words += f", shorter sides of {', '.join(map(str, self.scales))} pixels" if self.scales else ""
        return f"{words}, mirror images beside the images" if self.mirror and self.crops == 1 else words

    def content(self) -> dict[str, Any]:
        """Returns what metrics.json says of it."""
        more = {"crops": self.crops} if self.crops > 1 else {}
        return {"mirror": self.mirror, **more, **({"scales": list(self.scales)} if self.scales else {})}


def streams_of(
    looks: Looks, source: ImageSource, spec: InputSpec, batch_size: int
) -> list[tuple[tf.data.Dataset, int]]:
    """Returns the streams of images that are averaged over, each with the size of its batches.

    Args:
        looks: What is averaged over; mirror images are made of the batches.
        source: The images.
        spec: Size and view of the images.
        batch_size: Number of images per batch; pictures that keep their aspect ratio come one by one.
    """
    if looks.scales:
        whole = spec.view == "crop"
        if whole:
            return [(_whole_pictures(source, spec, scale), 1) for scale in looks.scales]
        return [
            (evaluation_stream(source, replace(spec, size=scale), batch_size), batch_size) for scale in looks.scales
        ]
    places = _CORNERS_AND_CENTRE if looks.crops == TEN else (None,)
    return [(evaluation_stream(source, replace(spec, place=place), batch_size), batch_size) for place in places]


def check_looks(looks: Looks, input_shape: tuple[int | None, ...]) -> None:
    """Checks that a network can look at images in such a way.

    Args:
        looks: What is averaged over.
        input_shape: Shape of the network's input, [batch, height, width, 3].

    Raises:
        UserError: The network takes images of one size only.
    """
    if looks.scales and input_shape[1] is not None and set(looks.scales) != {input_shape[1]}:
        raise UserError(
            f"--scales is for networks that take images of any size, and this one takes {input_shape[1]} pixels; "
            "leave it out, or use --crops 10"
        )


def _whole_pictures(source: ImageSource, spec: InputSpec, side: int) -> tf.data.Dataset:
    """Returns the whole pictures, one per batch, their shorter sides resized."""
    rows = source.rows
    columns = (
        tf.constant([str(source.root / path) for path in rows["path"]]),
        tf.constant(rows["decoder"].to_numpy(object)),
        tf.constant(rows["orientation"].to_numpy("int32")),
    )

    def load(path: Any, decoder: Any, orientation: Any) -> tuple[Any, Any]:
        picture = decode_file(path, decoder, orientation, spec.value_range)
        sides = tf.cast(tf.shape(picture)[:2], tf.float64)
        resized = tf.cast(tf.round(sides * (side / tf.reduce_min(sides))), tf.int32)
        image = tf.image.resize(picture, resized, spec.interpolation, antialias=True)
        return tf.cast(tf.round(tf.clip_by_value(image, 0.0, 255.0)), tf.uint8), -1

    loaded = mapped(tf.data.Dataset.from_tensor_slices(columns), lambda *facts: load(*facts), tf.data.AUTOTUNE)
    return loaded.batch(1).prefetch(2)
