"""Whether a value is one that a setting takes, and the one line that says what is wrong."""

import re
from pathlib import Path

from resnet_tf.errors import UserError


def check_choice(option: str, value: object, choices: tuple[object, ...]) -> None:
    """Checks that an option has one of its values.

    Args:
        option: As the command line names it.
        value: What was given.
        choices: All values that the option takes.

    Raises:
        UserError: The value is none of the choices.
    """
    if value not in choices:
        names = ", ".join(str(choice).lower() for choice in choices if choice is not None)
        raise UserError(f"{option} must be one of {names}, received {value!r}")


def check_range(option: str, value: float | None, low: float, high: float) -> None:
    """Checks that a number is in its range; None is no number, and passes.

    Raises:
        UserError: The number is smaller than `low` or larger than `high`, or it is NaN.
    """
    if value is not None and not low <= value <= high:
        raise UserError(f"{option} must be between {low} and {high}, received {value}")


def check_ending(option: str, path: str, ending: str) -> None:
    """Checks what the name of a file ends in; capitals do not matter.

    Raises:
        UserError: The name ends in something else.
    """
    if Path(path).suffix.lower() != ending:
        raise UserError(f"{option} must end in {ending}, received {path!r}")


def check_pattern(option: str, pattern: str) -> None:
    """Checks that a regular expression has exactly one group.

    Raises:
        UserError: It is no regular expression, or has no group, or several.
    """
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise UserError(f"{option} must be a regular expression, received {pattern!r}: {error}") from error
    if groups != 1:
        raise UserError(f"{option} must have one group in brackets, such as '_(\\d+)_', received {pattern!r}")
