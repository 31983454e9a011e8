"""The figure of the evidence in photos, drawn with Matplotlib without a screen."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from pipelines.console.escapes import visible
from pipelines.evaluation.evidence import EXACT, smoothed
from pipelines.report.album import GRID
from pipelines.report.figures import DOTS_PER_INCH
from pipelines.report.fonts import families_for, without
from pipelines.report.look import LIGHT, rgb

# Size of a picture, and the height of its captions, in inches.
_SIDE, _CAPTION = 2.3, 0.5
_SHORTEST = 34


@dataclass(frozen=True)
class Explained:
    """A photo with the evidence for some classes.

    Args:
        name: Name of the photo.
        picture: uint8 [height, width, 3], as the network sees it.
        classes: Names of the classes.
        probabilities: float [classes], their probabilities.
        logits: float [classes], their logits.
        bias: float [classes], the part of each logit that belongs to no position.
        maps: float [classes, height, width], the evidence at each position.
    """

    name: str
    picture: np.ndarray
    classes: Sequence[str]
    probabilities: np.ndarray
    logits: np.ndarray
    bias: np.ndarray
    maps: np.ndarray


def draw_evidence(photos: Sequence[Explained], method: str, path: Path) -> None:
    """Draws each photo beside the maps of its classes, and writes a PNG.

    Orange positions speak for a class and blue ones against it. All maps of a photo share one scale.

    Args:
        photos: Photos with as many classes each; there is at least one.
        method: How the maps were made, one of the names in `pipelines.evaluation.evidence`.
        path: Path of the PNG.
    """
    columns = 1 + len(photos[0].classes)
    width, height = columns * _SIDE, len(photos) * (_SIDE + _CAPTION) + 0.35
    figure = Figure(figsize=(width, height), facecolor=LIGHT.paper)
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(photos), columns, squeeze=False)
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - (0.35 + _CAPTION) / height, 0.03, _CAPTION / _SIDE)
    families, missing = families_for(visible(text) for photo in photos for text in (photo.name, *photo.classes))
    what = "parts of the logit at each position" if method == EXACT else "Grad-CAM: where the logit is sensitive"
    figure.text(0.01, 1 - 0.22 / height, f"{what}; orange speaks for the class, blue against it", color=LIGHT.quiet)
    for axes, photo in zip(grid, photos, strict=True):
        _draw_row(list(axes), photo, method, families, missing)
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png", facecolor=LIGHT.paper)


def _draw_row(axes: Sequence[Axes], photo: Explained, method: str, families: list[str], missing: str) -> None:
    maps = smoothed(photo.maps, GRID)
    largest = float(np.abs(maps).max()) or 1.0
    shares = np.sign(maps) * np.abs(maps / largest) ** 0.6  # weak evidence is seen, too
    _caption(axes[0], without(f"{_shortened(visible(photo.name))}\n", missing), families)
    axes[0].imshow(photo.picture)
    height, width = photo.picture.shape[:2]
    for place, name in enumerate(photo.classes):
        panel = axes[1 + place]
        panel.imshow(photo.picture.mean(axis=-1), cmap="gray", vmin=-80, vmax=335)  # pale, so that colours are seen
        # From the edges of the picture, since a position stands for the whole of its part.
        edges = (-0.5, width - 0.5, height - 0.5, -0.5)
        panel.imshow(shares[place], cmap=_colours(), vmin=-1.0, vmax=1.0, extent=edges, interpolation="bicubic")
        parts = f" = {photo.maps[place].sum():.2f} + bias {photo.bias[place]:.2f}" if method == EXACT else ""
        said = f"{_shortened(visible(name))}: {photo.probabilities[place]:.1%}\nlogit {photo.logits[place]:.2f}{parts}"
        _caption(panel, without(said, missing), families)
    for panel in axes:
        panel.set_axis_off()


def _caption(axes: Axes, text: str, families: list[str]) -> None:
    axes.set_title(text, fontsize=8, loc="left", color=LIGHT.ink, parse_math=False, fontfamily=families, pad=4)


def _colours() -> LinearSegmentedColormap:
    against, speaks = rgb(LIGHT.right), rgb(LIGHT.wrong)
    return LinearSegmentedColormap.from_list(
        "evidence", [(*against, 0.95), (*against, 0.0), (*speaks, 0.0), (*speaks, 0.95)]
    )


def _shortened(name: str) -> str:
    return name if len(name) <= _SHORTEST else f"…{name[1 - _SHORTEST :]}"
