"""Estimates how long the rest of a training takes."""

from collections.abc import Sequence
from statistics import median_low


def seconds_left(measured: Sequence[float], epochs_left: int) -> float | None:
    """Returns the time that the remaining epochs will take, in seconds, or None while no epoch has been measured.

    It is the median's, since other programs disturb some epochs. Of two, the shorter one counts: the first epoch of a
    process is longer, because TensorFlow makes its graphs in it.

    Args:
        measured: Seconds of whole epochs with their validation.
        epochs_left: Number of epochs that remain.
    """
    return median_low(measured) * epochs_left if measured else None
