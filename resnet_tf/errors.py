"""The error for everything that a user caused and can correct."""

import re

# Two lines of a wide terminal: a message may name two long paths, which nobody can use without their middle.
MAX_CHARACTERS = 500
# Names are cut to these lengths, one after the other, until the whole message is short enough.
_NAME_CHARACTERS = (200, 120, 80, 48)
_NAME = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"|\S+")


class UserError(ValueError):
    """An error that a user can correct; its one sentence says what is wrong, with the received value, and what to do.

    The command line prints it as `error: …` and exits with code 2, without a traceback. A message that is too long for
    that is shortened, see `shortened`.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(shortened(str(message)))


def shortened(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Returns a text as one line of at most `limit` characters; a text that is one already is unchanged.

    Long names lose their middle first, so that the sentence around them stays. Where that is not enough, the sentence
    loses its middle, since it begins with what is wrong and ends with what to do.

    Args:
        text: Text, which may hold names of any length.
        limit: Largest number of characters.
    """
    if "\n" in text or "\r" in text:
        text = " ".join(text.split())
    for length in _NAME_CHARACTERS:
        if len(text) <= limit:
            return text
        text = _NAME.sub(lambda name: without_middle(name[0], length), text)  # noqa: B023 (called at once)
    return without_middle(text, limit)


def without_middle(text: str, limit: int) -> str:
    """Returns a text of at most `limit` characters, with "…" in place of its middle."""
    if len(text) <= limit:
        return text
    end = (limit - 1) // 2
    return f"{text[: limit - 1 - end]}…{text[len(text) - end :]}"
