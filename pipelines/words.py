"""What is done with the words of a command line before they are parsed, and how a mistyped one is answered."""

import argparse
import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipelines.config.verbs import VERBS
from resnet_tf.errors import UserError

ALL_STEPS = "go"  # the verb that a bare folder stands for


def understood(words: Sequence[str]) -> list[str]:
    """Returns the words with a verb in front.

    `help VERB` asks for the verb's help, no word at all for that of the program, and a bare folder or archive is for
    `go`.

    Args:
        words: Words after `resnet-tf`.

    Raises:
        UserError: The first word is neither a verb nor something that exists.
    """
    words = list(words) or ["--help"]
    if words[0] in (*VERBS, "-h", "--help", "--version"):
        return words
    if words[0].startswith("-"):  # options of `go`, unless a verb follows
        return words if any(word in VERBS for word in words) else [ALL_STEPS, *words]
    if words[0] == "help":
        return [*_checked(words[1:2]), "--help"]
    if Path(words[0]).exists():
        return [ALL_STEPS, *words]
    return _checked(words)


def unknown_words(extra: Sequence[str], parser: argparse.ArgumentParser, prog: str) -> UserError:
    """Returns the error about words that a verb does not know, with the option that is nearest to the first of them.

    Args:
        extra: Words that nobody has understood.
        parser: Parser of the verb.
        prog: What the command line calls the verb, such as "resnet-tf evaluate".
    """
    options = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    wrong = next((word.partition("=")[0] for word in extra if word.startswith("-")), "")
    return UserError(f"unrecognized arguments: {' '.join(extra)}{_nearest(wrong, options)}; see {prog} --help")


def _checked(words: list[str]) -> list[str]:
    if words and words[0] not in VERBS:
        near = _nearest(words[0], VERBS)
        raise UserError(f"there is no command, and no folder or archive, {words[0]!r}{near}; see resnet-tf --help")
    return words


def _nearest(word: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {found[0]}?)" if found else ""
