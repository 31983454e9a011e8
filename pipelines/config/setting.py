"""One description per setting. Checks, --help and docs/options.md are all made from it."""

import math
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pipelines.config.checks import check_choice, check_ending, check_range
from resnet_tf.architectures import find_architecture
from resnet_tf.errors import UserError

Config = TypeVar("Config")

DATA, NETWORK, TRAINING, DEVICES, RUN = GROUPS = ("data", "network", "training", "devices", "run")
STANDARD_OUTPUT = "-"


@dataclass(frozen=True)
class Setting:
    """What there is to say of a setting beside its name, its type and its default.

    Args:
        help: What it is, in a few words.
        group: One of `GROUPS`, under which --help and the options page list it.
        kind: Type of a value: str, int, float or bool.
        choices: All values that it may have, None among them where the command line's word for it is "none".
        low: Smallest value.
        high: Largest value.
        positive: Whether it must be larger than 0 and finite.
        ending: What the name of a file must end in.
        none_is: What happens where the value is None, in words.
        why: Reason for the default, or for the range.
        option: The option's name where it does not follow from the field's name.
        metavar: Name of the value in --help.
        positional: Whether the command line takes it without an option.
        parse: What makes a value of a word, where that is not its kind.
        written: Whether it names a file that the command writes, so that "-" is standard output.
        left_out: What the command line takes where it is left out, in words, although the config must have it.
    """

    help: str
    group: str = RUN
    kind: type = str
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    positive: bool = False
    ending: str = ""
    none_is: str = ""
    why: str = ""
    option: str = ""
    metavar: str = ""
    positional: bool = False
    parse: Callable[[str], Any] | None = None
    written: bool = False
    left_out: str = ""


class Described(NamedTuple):
    """A field of a config with its description.

    Args:
        name: Name of the field.
        option: What the command line calls it: "--image-size", or "DATA" for a positional one.
        default: The default, `dataclasses.MISSING` where there is none.
        setting: The description.
    """

    name: str
    option: str
    default: Any
    setting: Setting

    @property
    def range(self) -> str:
        """The values that the setting takes, in words; "" where every value of its kind will do."""
        setting = self.setting
        if setting.choices:
            return ", ".join(shown(choice) for choice in setting.choices)
        if setting.positive:
            return "above 0"
        if setting.low is not None:
            return f"{shown(setting.low)} to {shown(setting.high)}"
        return f"ends in {setting.ending}" if setting.ending else ""

    @property
    def default_in_words(self) -> str:
        """The default as --help shows it; "" where the setting must be given."""
        if self.default is MISSING:
            return self.setting.left_out
        if self.default is None and self.setting.none_is:
            return self.setting.none_is
        return shown(self.default)


def setting(help: str, default: Any = MISSING, **description: Any) -> Any:
    """A field of a config dataclass, with its description.

    Args:
        help: As in `Setting`.
        default: The default; without one the setting must be given.
        description: The other arguments of `Setting`.
    """
    return field(default=default, metadata={"setting": Setting(help, **description)})


def described(config: Any) -> Iterator[Described]:
    """The settings of a config, or of its class, in their order."""
    for each in fields(config):
        if "setting" in each.metadata:
            found: Setting = each.metadata["setting"]
            yield Described(each.name, _option(each, found), each.default, found)


def check(config: Any) -> None:
    """Checks every value against its setting's kind, choices and range.

    Raises:
        UserError: A value is none that its setting takes.
    """
    for name, option, default, found in described(config):
        value = getattr(config, name)
        if value is None and (default is None or None in found.choices):
            continue
        if found.choices:
            check_choice(option, value, found.choices)
            continue
        _check_kind(option, value, found)
        if found.positional and value == "":
            raise UserError(f"{option} must not be empty")
        if found.positive and not 0.0 < value < math.inf:
            raise UserError(f"{option} must be a positive number, received {value}")
        if found.low is not None and found.high is not None and not isinstance(value, str):
            check_range(option, value, found.low, found.high)
        if found.ending and value != STANDARD_OUTPUT:
            check_ending(option, value, found.ending)


class Checked:
    """A config whose values are checked when it is made."""

    def __post_init__(self) -> None:
        if getattr(self, "arch", None) is not None:
            find_architecture(self.arch)  # type: ignore[attr-defined]
        check(self)


def documented(kind: type[Config]) -> type[Config]:
    """A class decorator that lists a config's settings in its docstring, so that `help` shows them."""
    lines = [f"    {name}: {sentence(found.help)}" for name, _, _, found in described(kind)]
    kind.__doc__ = "\n".join([(kind.__doc__ or "").rstrip(), "", "Args:", *lines])
    return kind


def shown(value: object) -> str:
    """A value as the command line writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | int):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return "none" if value is None else str(value)


def sentence(text: str) -> str:
    """Returns the help of a setting as a sentence, with a capital and a full stop."""
    return text[0].upper() + text[1:] + "."


def absolute(path: str) -> str:
    """A path that stays right wherever a later command is started."""
    return str(Path(path).resolve())


def _option(each: "Field[Any]", found: Setting) -> str:
    if found.positional:
        return found.metavar or each.name.upper()
    return found.option or f"--{each.name.replace('_', '-')}"


def _check_kind(option: str, value: object, found: Setting) -> None:
    wanted: dict[type, tuple[tuple[type, ...], str]] = {
        int: ((int,), "a whole number"),
        float: ((int, float), "a number"),
        bool: ((bool,), "True or False"),
        str: ((str,), "text"),
    }
    kinds, words = wanted.get(found.kind, ((), ""))
    if found.parse is None and kinds and (not isinstance(value, kinds) or (isinstance(value, bool) != (bool in kinds))):
        raise UserError(f"{option} must be {words}, received {value!r}")
