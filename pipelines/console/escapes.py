"""Escapes what could steer a terminal or turn a page around, since names of files and classes may hold anything."""

import re
from collections.abc import Sequence

# Characters that move the cursor, change colours or the order of letters, cannot be seen, or are bytes that are not
# UTF-8: control characters, line separators, marks and overrides of the direction, and lone surrogates. The joiners
# U+200C and U+200D are not among them, because several scripts need them.
_HARMFUL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_LINES = re.compile(r"([\n\t])")


def visible(name: str) -> str:
    r"""Returns a name of a file or class for a terminal or a page: ESC becomes `\x1b`, a line break `\n`."""
    return _HARMFUL.sub(lambda found: found[0].encode("unicode_escape").decode(), name)


def one_line(name: str) -> str:
    """Returns a name for a list with one name a line: one that has line breaks is escaped."""
    return name if len(f"{name}\n".splitlines()) == 1 else visible(name)


def visible_lines(text: str) -> str:
    """Returns a text of several lines for a terminal; line breaks and tabulators stay."""
    return "".join(part if _LINES.fullmatch(part) else visible(part) for part in _LINES.split(text))


def first_of(texts: Sequence[str], most: int = 5) -> str:
    """Returns the first of some texts in a row, with an ellipsis if there are more."""
    return ", ".join([*texts[:most], *(["…"] if len(texts) > most else [])])
