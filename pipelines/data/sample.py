"""The built-in sample: 30 classes drawn by code, six shapes in five patterns. A seed determines all pictures."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.config.verbs import SampleConfig
from pipelines.console.terminal import progress
from pipelines.data.drawing import draw_thing
from pipelines.data.outlines import SAMPLE_OUTLINES
from pipelines.data.patterns import SAMPLE_PATTERNS
from resnet_tf.errors import UserError

_QUALITY = 90
CLASSES = [f"{pattern}_{shape}" for shape in SAMPLE_OUTLINES for pattern in SAMPLE_PATTERNS]


def draw_sample(config: SampleConfig) -> Path:
    """Draws the sample into a folder with one sub-folder per class.

    Args:
        config: Folder, numbers of classes and images, size of the images and seed.

    Returns:
        The folder.

    Raises:
        UserError: The folder exists and has something in it.
    """
    folder = Path(config.folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{config.folder!r} exists and is not empty; choose another folder for the sample")
    chosen = sorted(CLASSES)[: config.classes]
    places = [(number, name, index) for number, name in enumerate(chosen) for index in range(config.per_class)]
    for number, name, index in progress(places, len(places), f"drawn in {folder}"):
        path = folder / name / f"{index:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_image(name, config.size, np.random.default_rng([config.seed, number, index])).save(path, quality=_QUALITY)
    return folder


def draw_image(name: str, size: int, random: np.random.Generator) -> Image.Image:
    """Draws one picture of a class.

    Args:
        name: Name of the class, such as "striped_star".
        size: Height and width, in pixels.
        random: Random generator that determines everything that varies.
    """
    pattern, _, shape = name.partition("_")
    return draw_thing(SAMPLE_OUTLINES[shape], SAMPLE_PATTERNS[pattern], size, random)
