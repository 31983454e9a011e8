"""A font that has the letters of the class names, whatever their script."""

from collections.abc import Iterable, Iterator
from functools import cache

from matplotlib.font_manager import fontManager, get_font

DEFAULT = "DejaVu Sans"


def without(text: str, missing: str) -> str:
    """Returns a text with a sign for each letter that no installed font has.

    Matplotlib would print a warning for each of them whenever it draws one.
    """
    return text.translate(dict.fromkeys(map(ord, missing), "\N{REPLACEMENT CHARACTER}"))


def families_for(texts: Iterable[str]) -> tuple[list[str], str]:
    """Returns the font families that together have the letters of some texts.

    Args:
        texts: Texts that a figure shows.

    Returns:
        Names of families, Matplotlib's own one first, and the letters that no installed font has.
    """
    missing = {ord(letter) for letter in set("".join(texts)) if not letter.isspace()} - _letters(_path_of(DEFAULT))
    families = [DEFAULT]
    for name, path in _installed():
        if not missing:
            break
        if found := missing & _letters(path):
            families.append(name)
            missing -= found
    return families, "".join(sorted(map(chr, missing)))


def _installed() -> Iterator[tuple[str, str]]:
    """Yields name and path of one font for each installed family, upright and of usual weight where there is one."""
    chosen: dict[str, str] = {}
    for font in sorted(fontManager.ttflist, key=lambda font: (font.style != "normal", str(font.weight) != "400")):
        chosen.setdefault(font.name, font.fname)
    yield from sorted(chosen.items())


def _path_of(family: str) -> str:
    return next(font.fname for font in fontManager.ttflist if font.name == family and font.style == "normal")


@cache
def _letters(path: str) -> frozenset[int]:
    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):  # a font that FreeType cannot read
        return frozenset()
