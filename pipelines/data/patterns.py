"""Patterns of drawn things: functions from coordinates to the share of the second of two colours.

Coordinates are in units of the pattern's period, from the middle of the thing.
"""

import math
from collections.abc import Callable

import numpy as np

Pattern = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _dots(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    return np.hypot(x % 1.0 - 0.5, y % 1.0 - 0.5) < radius


def _plain(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.zeros_like(x)


def _bricked(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    row = np.floor(y * 1.6)
    return (y * 1.6 % 1.0 < 0.22) | ((x * 0.9 + 0.5 * (row % 2)) % 1.0 < 0.14)


def _scaled(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    row = np.floor(y * 1.4)
    return np.hypot((x + 0.5 * (row % 2)) % 1.0 - 0.5, y * 1.4 % 1.0 * 0.7) > 0.48


def _spiral(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.hypot(x, y) - np.arctan2(y, x) / (2 * math.pi)) % 1.0 < 0.5


def _honeycombed(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Shows the edges of hexagons: where the nearest two of their centres are almost as near as each other."""
    distances = []
    for offset in (0.0, 0.5):
        column, row = x + offset, y / math.sqrt(3) + offset
        for step in (0.0, 1.0):
            distances.append(np.hypot(column - np.floor(column) - step, (row - np.round(row)) * math.sqrt(3)))
    nearest, second = np.sort(np.stack(distances), axis=0)[:2]
    return second - nearest < 0.2


def _cloudy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    waves = ((1.0, 0.3, 0.0), (-0.4, 1.1, 1.0), (0.8, -0.9, 2.0), (1.5, 0.7, 4.0))
    return np.sum([np.sin(2 * math.pi * 0.62 * (a * x + b * y) + c) for a, b, c in waves], axis=0) > 0.25


def _hatched(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x * 1.5 % 1.0 < 0.2) | (y * 1.5 % 1.0 < 0.2)


# The five patterns of the built-in sample.
SAMPLE_PATTERNS: dict[str, Pattern] = {
    "plain": _plain,
    "striped": lambda x, y: x % 1.0 < 0.5,
    "checked": lambda x, y: (x % 1.0 < 0.5) ^ (y % 1.0 < 0.5),
    "dotted": lambda x, y: _dots(x, y, 0.3),
    "ringed": lambda x, y: np.hypot(x, y) % 1.0 < 0.5,
}

# Others, which the weights `drawn` have seen (tools/drawn_weights.py). None of them is among the five.
OTHER_PATTERNS: dict[str, Pattern] = {
    "wavy": lambda x, y: (y + 0.28 * np.sin(2 * math.pi * x)) * 1.2 % 1.0 < 0.5,
    "zigzag": lambda x, y: (y + np.abs(x % 1.0 - 0.5)) * 1.2 % 1.0 < 0.5,
    "bricked": _bricked,
    "scaled": _scaled,
    "spiral": _spiral,
    "honeycombed": _honeycombed,
    "hatched": _hatched,
    "rayed": lambda x, y: np.arctan2(y, x) * 4.5 / math.pi % 1.0 < 0.5,
    "cloudy": _cloudy,
    "harlequin": lambda x, y: ((x + y) * 0.8 % 1.0 < 0.5) ^ ((x - y) * 0.45 % 1.0 < 0.5),
    "starred": lambda x, y: np.abs(x % 1.0 - 0.5) ** 0.6 + np.abs(y % 1.0 - 0.5) ** 0.6 < 0.62,
    "pinstriped": lambda x, y: x * 1.4 % 1.0 < 0.18,
    "halved": lambda x, y: x < 0,
    "faded": lambda x, y: np.clip(np.hypot(x, y) / 2.0, 0.0, 1.0),
    "shaded": lambda x, y: np.clip(0.5 + x / 3.6, 0.0, 1.0),
}
