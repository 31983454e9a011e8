"""The built-in sample: 30 classes drawn by code, six shapes in five patterns.

Colour says nothing about the class; position, scale, rotation, clutter and noise vary. A seed determines all pictures.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pipelines.config.verbs import SampleConfig
from pipelines.console.terminal import progress
from resnet_tf.errors import UserError

Points = list[tuple[float, float]]
_SUPERSAMPLING = 3
_NOISE = 8.0
_QUALITY = 90


def _regular(corners: int, inner: float | None = None) -> Points:
    """Returns a regular polygon of radius 1, or a star if an inner radius is given."""
    radii = [1.0] if inner is None else [1.0, inner]
    count = corners * len(radii)
    return [
        (
            radii[k % len(radii)] * math.sin(2 * math.pi * k / count),
            -radii[k % len(radii)] * math.cos(2 * math.pi * k / count),
        )
        for k in range(count)
    ]


_ARM = 0.36
SHAPES: dict[str, Points] = {
    "circle": _regular(48),
    "triangle": _regular(3),
    "square": _regular(4),
    "star": _regular(5, inner=0.42),
    "cross": [
        (-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM),
        (_ARM, 1), (-_ARM, 1), (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM),
    ],
    "arrow": [(0, -1), (0.8, 0), (0.3, 0), (0.3, 1), (-0.3, 1), (-0.3, 0), (-0.8, 0)],
}  # fmt: skip

# Functions from coordinates, in units of the pattern's period, to whether the second colour is there.
PATTERNS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "plain": lambda x, y: np.zeros_like(x, bool),
    "striped": lambda x, y: x % 1.0 < 0.5,
    "checked": lambda x, y: (x % 1.0 < 0.5) ^ (y % 1.0 < 0.5),
    "dotted": lambda x, y: np.hypot(x % 1.0 - 0.5, y % 1.0 - 0.5) < 0.3,
    "ringed": lambda x, y: np.hypot(x, y) % 1.0 < 0.5,
}
CLASSES = [f"{pattern}_{shape}" for shape in SHAPES for pattern in PATTERNS]


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
    canvas = size * _SUPERSAMPLING
    picture = _background(canvas, random)
    radius = canvas * random.uniform(0.28, 0.44)
    centre = random.uniform(radius * 0.9, canvas - radius * 0.9, 2)
    angle = random.uniform(0, 2 * math.pi)
    mask = Image.new("L", (canvas, canvas))
    ImageDraw.Draw(mask).polygon(_placed(SHAPES[shape], radius, centre, angle), fill=255)
    picture.paste(_pattern(pattern, canvas, radius, centre, random), mask=mask)
    small = np.asarray(picture.resize((size, size), Image.Resampling.BOX), np.float64)
    noisy = small + random.normal(0, _NOISE, small.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _placed(points: Points, radius: float, centre: np.ndarray, angle: float) -> Points:
    cosine, sine = radius * math.cos(angle), radius * math.sin(angle)
    return [(centre[0] + x * cosine - y * sine, centre[1] + x * sine + y * cosine) for x, y in points]


def _pattern(pattern: str, canvas: int, radius: float, centre: np.ndarray, random: np.random.Generator) -> Image.Image:
    first, second = _two_colours(random)
    period, angle = radius * random.uniform(0.42, 0.6), random.uniform(0, 2 * math.pi)
    y, x = np.mgrid[:canvas, :canvas].astype(np.float64)
    x, y = (x - centre[0]) / period, (y - centre[1]) / period
    turned_x, turned_y = x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)
    chosen = PATTERNS[pattern](turned_x, turned_y)[..., None]
    return Image.fromarray(np.where(chosen, second, first).astype(np.uint8))


def _two_colours(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns one dark and one light colour, in random order."""
    dark, light = random.uniform(0, 110, 3), random.uniform(145, 255, 3)
    return (dark, light) if random.random() < 0.5 else (light, dark)


def _background(canvas: int, random: np.random.Generator) -> Image.Image:
    """Draws a background of soft colours, with small discs and lines that say nothing about the class."""
    coarse = Image.fromarray(random.uniform(60, 200, (4, 4, 3)).astype(np.uint8))
    picture = coarse.resize((canvas, canvas), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(8):
        x, y, reach = *random.uniform(0, canvas, 2), canvas * random.uniform(0.02, 0.07)
        colour = tuple(int(value) for value in random.uniform(0, 255, 3))
        if random.random() < 0.5:
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)
        else:
            angle = random.uniform(0, math.pi)
            across = 3 * reach * np.array([math.cos(angle), math.sin(angle)])
            draw.line((x - across[0], y - across[1], x + across[0], y + across[1]), fill=colour, width=canvas // 50)
    return picture
