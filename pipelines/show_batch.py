"""show-batch: draws the images that the network will see in training, with their labels."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pipelines.config.verbs import ShowBatchConfig
from pipelines.console.terminal import say
from pipelines.data.manifest import class_names, look_at_images
from pipelines.data.value_range import decide_range
from pipelines.images.stream import ImageSource, InputSpec, Order, training_stream
from pipelines.runs.files import write_atomically
from resnet_tf.errors import UserError

_CAPTION = 14
_GAP = 4
_SHOWN_SHARE = 0.01


def show_batch(config: ShowBatchConfig) -> Path:
    """Writes the first images of an epoch as a grid, each above its label, or above its labels with their shares.

    The images are those of the training split if DATA names splits, and otherwise all images.

    Args:
        config: Images to show, and changes that training makes to them.

    Returns:
        The path of the PNG file.

    Raises:
        UserError: DATA has no readable image.
    """
    found = look_at_images(config.data, follow_links=config.follow_links)
    found.say()
    table = found.images
    rows = table[table["readable"] & table["split"].isin(("", "train"))].reset_index(drop=True)
    if rows.empty:
        raise UserError(f"not one file of {config.data!r} is a readable image for training; see `resnet-tf audit`")
    images, captions = _batch(config, ImageSource(rows, found.root, class_names(rows)))
    grid = draw_grid(images, captions)
    write_atomically(Path(config.out), lambda temporary: grid.save(temporary, "PNG"))
    say(f"wrote {config.out}: {len(images)} images, view {config.view}, augment {config.augment}, mix {config.mix}")
    return Path(config.out)


def _batch(config: ShowBatchConfig, source: ImageSource) -> tuple[np.ndarray, list[str]]:
    input_spec = InputSpec(
        config.image_size,
        augment=config.augment,
        mix=config.mix,
        balanced=config.balance == "sampling",
        value_range=decide_range(config.range, source.rows["stored_values"]),
        view=config.view,
    )
    stream = training_stream(
        source,
        input_spec,
        Order(batch_size=config.images, seed=config.seed, first_epoch=config.epoch),
    )
    images, labels = next(iter(stream))
    return images.numpy(), [caption(label, source.classes) for label in labels.numpy()]


def caption(label: np.ndarray, classes: list[str]) -> str:
    """Returns the name of a class, or names and shares of several classes, the largest share first.

    Args:
        label: Number of a class, an integer scalar; or shares of the classes, float [classes].
        classes: Names of the classes.
    """
    if label.ndim == 0:
        return classes[label]
    shown = [number for number in np.argsort(-label, kind="stable") if label[number] > _SHOWN_SHARE]
    if len(shown) == 1:
        return classes[shown[0]]
    return " ".join(f"{classes[number]} {label[number]:.2f}" for number in shown)


def draw_grid(images: np.ndarray, captions: list[str]) -> Image.Image:
    """Returns a grid of images in rows of at most eight, each above its caption.

    Args:
        images: uint8 [n, size, size, 3].
        captions: Captions, one per image.
    """
    count, size = images.shape[:2]
    columns = min(8, count)
    lines = -(-count // columns)
    step_x, step_y = size + _GAP, size + _CAPTION + _GAP
    grid = Image.new("RGB", (columns * step_x + _GAP, lines * step_y + _GAP), "white")
    draw = ImageDraw.Draw(grid)
    for number, (image, text) in enumerate(zip(images, captions, strict=True)):
        left, top = _GAP + number % columns * step_x, _GAP + number // columns * step_y
        grid.paste(Image.fromarray(image), (left, top))
        while len(text) > 1 and draw.textlength(text) > size:
            text = text[:-2] + "…"
        draw.text((left, top + size), text, "black")
    return grid
