"""Measures how long a command takes, and shows a duration as a clock does."""

import time
from collections.abc import Callable


class Stopwatch:
    """Counts the seconds since it was made, and those that earlier calls of the same command have spent.

    Args:
        now: Function that returns the time in seconds.
        before: Seconds that were spent before.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic, before: float = 0.0) -> None:
        self.now, self.before, self._started = now, before, now()

    @property
    def seconds(self) -> float:
        """Seconds that were spent so far."""
        return self.before + self.now() - self._started


def as_clock(seconds: float) -> str:
    """Returns a duration as minutes and seconds, such as "0:45", or from an hour on with hours, such as "1:05:00".

    Args:
        seconds: Duration in seconds, at least 0; it is rounded to whole ones.
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def in_minutes(minutes: float) -> str:
    """Returns a number of minutes with its unit, such as "10 minutes" or "1 minute"."""
    return f"{minutes:g} minute{'' if minutes == 1 else 's'}"
