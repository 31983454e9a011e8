"""Draws one thing with a pattern before a soft background.

Colour says nothing about what it is; position, scale, rotation, clutter and noise vary.
"""

import colorsys
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pipelines.data.outlines import Points
from pipelines.data.patterns import Pattern

_SUPERSAMPLING = 3
_NOISE = 4.0
_SHADOW = 0.55  # of the light that the shadow takes
# Hues that people find pleasant together, in turns of the colour circle: coral, amber, leaf, teal, sky, violet, rose.
_HUES = (0.02, 0.10, 0.30, 0.47, 0.58, 0.74, 0.93)


def draw_thing(outline: Points, pattern: Pattern, size: int, random: np.random.Generator) -> Image.Image:
    """Draws one picture.

    Args:
        outline: Polygon of radius 1.
        pattern: What it is filled with.
        size: Height and width of the picture, in pixels.
        random: Random generator that determines everything that varies.
    """
    canvas = size * _SUPERSAMPLING
    picture = _background(canvas, random)
    radius = canvas * random.uniform(0.3, 0.44)
    centre = random.uniform(radius * 0.95, canvas - radius * 0.95, 2)
    points = _placed(outline, radius, centre, random.uniform(0, 2 * math.pi))
    _cast_shadow(picture, points, canvas)
    mask = Image.new("L", (canvas, canvas))
    ImageDraw.Draw(mask).polygon(points, fill=255)
    picture.paste(_filled(pattern, canvas, radius, centre, random), mask=mask)
    small = np.asarray(picture.resize((size, size), Image.Resampling.BOX), np.float32)
    noisy = small + random.normal(0, _NOISE, small.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _placed(points: Points, radius: float, centre: np.ndarray, angle: float) -> Points:
    cosine, sine = radius * math.cos(angle), radius * math.sin(angle)
    return [(centre[0] + x * cosine - y * sine, centre[1] + x * sine + y * cosine) for x, y in points]


def _cast_shadow(picture: Image.Image, points: Points, canvas: int) -> None:
    """Darkens what lies below and to the right of the thing, a little out of focus."""
    quarter = canvas // 4  # a shadow has no details
    shadow = Image.new("L", (quarter, quarter))
    shift = canvas * 0.025
    corners = [((x + shift) / 4, (y + 1.5 * shift) / 4) for x, y in points]
    ImageDraw.Draw(shadow).polygon(corners, fill=round(255 * _SHADOW))
    blurred = shadow.filter(ImageFilter.GaussianBlur(canvas * 0.006)).resize((canvas, canvas))
    picture.paste((20, 24, 40), mask=blurred)


def _filled(
    pattern: Pattern, canvas: int, radius: float, centre: np.ndarray, random: np.random.Generator
) -> Image.Image:
    first, second = _two_colours(random)
    period, angle = radius * random.uniform(0.42, 0.6), random.uniform(0, 2 * math.pi)
    rows, columns = np.arange(canvas, dtype=np.float32)[:, None], np.arange(canvas, dtype=np.float32)
    x, y = (columns - centre[0]) / period, (rows - centre[1]) / period
    cosine, sine = math.cos(angle), math.sin(angle)
    share = pattern(x * cosine - y * sine, x * sine + y * cosine)[..., None].astype(np.float32)
    return Image.fromarray((first + share * (second - first)).astype(np.uint8))


def _two_colours(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns one dark and one light colour, in random order."""
    dark = _colour(random, (0.55, 0.9), (0.25, 0.6))
    light = _colour(random, (0.12, 0.5), (0.88, 1.0))
    return (dark, light) if random.random() < 0.5 else (light, dark)


def _colour(
    random: np.random.Generator,
    saturation: tuple[float, float],
    value: tuple[float, float],
    hue: float | None = None,
) -> np.ndarray:
    """Returns a colour near one of the pleasant hues, or near the one that is given, as float32 [3] in 0 … 255."""
    hue = _HUES[random.integers(len(_HUES))] if hue is None else hue
    turned = (hue + random.uniform(-0.04, 0.04)) % 1.0
    return 255 * np.array(colorsys.hsv_to_rgb(turned, random.uniform(*saturation), random.uniform(*value)), np.float32)


def _background(canvas: int, random: np.random.Generator) -> Image.Image:
    """Draws a background of soft colours, with small discs and lines that say nothing about the class."""
    hue, saturation = _HUES[random.integers(len(_HUES))], random.uniform(0.08, 0.4)
    first, second = (_colour(random, (saturation, saturation), light, hue) for light in ((0.5, 0.8), (0.8, 0.98)))
    mixed = random.uniform(0, 1, (3, 3, 1))
    coarse = Image.fromarray((first + mixed * (second - first)).astype(np.uint8))
    picture = coarse.resize((canvas, canvas), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(8):
        x, y, reach = *random.uniform(0, canvas, 2), canvas * random.uniform(0.015, 0.05)
        colour = tuple(int(channel) for channel in _colour(random, (0.2, 0.7), (0.4, 1.0)))
        if random.random() < 0.5:
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)
        else:
            angle = random.uniform(0, math.pi)
            across = 3 * reach * np.array([math.cos(angle), math.sin(angle)])
            draw.line((x - across[0], y - across[1], x + across[0], y + across[1]), fill=colour, width=canvas // 50)
    return picture
