"""Shares of images with their intervals."""

from typing import Any

import numpy as np
from scipy.special import ndtri

LEVEL = 0.95


def wilson(right: Any, images: Any, level: float = LEVEL) -> tuple[Any, Any]:
    """Returns both ends of Wilson's interval (1927) of a share; they are NaN where there are no images.

    Args:
        right: Number of images that count, or an array of such numbers.
        images: Number of all images, or an array of the same shape.
        level: Probability with which the interval contains the share.
    """
    right, images = np.asarray(right, float), np.asarray(images, float)
    z = ndtri((1.0 + level) / 2.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share, square = right / images, z**2 / images
        centre = (share + square / 2.0) / (1.0 + square)
        half = z / (1.0 + square) * np.sqrt(share * (1.0 - share) / images + square / (4.0 * images))
        low, high = np.where(right == 0, 0.0, centre - half), np.where(right == images, 1.0, centre + half)
    low, high = (np.where(images > 0, end, np.nan) for end in (low, high))
    return (float(low), float(high)) if low.ndim == 0 else (low, high)
