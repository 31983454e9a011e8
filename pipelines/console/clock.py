"""Shows a duration as a clock does."""


def as_clock(seconds: float) -> str:
    """Returns a duration as minutes and seconds, such as "0:45", or from an hour on with hours, such as "1:05:00".

    Args:
        seconds: Duration in seconds, at least 0; it is rounded to whole ones.
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
