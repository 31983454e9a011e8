"""A page within another one, as notebooks show it."""

import html


def framed(page: str, height: int = 640) -> str:
    """Returns a whole page as a frame within another one, so that neither changes the look of the other.

    Args:
        page: HTML of a whole page.
        height: Height of the frame, in pixels.
    """
    return f'<iframe srcdoc="{html.escape(page)}" width="100%" height="{height}" style="border: 0"></iframe>'
