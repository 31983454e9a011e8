"""Builds the parser of the command line from the descriptions of the settings.

It depends neither on TensorFlow nor on what the commands do.
"""

import argparse
import dataclasses
from collections.abc import Iterable
from typing import Any, NoReturn

from pipelines.config.setting import GROUPS, Described, described, shown
from pipelines.config.verbs import VERBS, FinetuneWords
from resnet_tf import __version__
from resnet_tf.errors import UserError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands.

    Its result has the command's name in `verb`, and only those settings that were given.
    """
    parser = _Parser(
        prog="resnet-tf",
        description="From a folder of photos, one sub-folder per class, to a fine-tuned ResNet that can be served.",
    )
    parser.add_argument("--version", action="version", version=f"resnet-tf {__version__}")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (summary, config) in VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=summary)
        verb.set_defaults(verb=name)
        verb.add_argument("--debug", action="store_true", help="show where an error came from")
        _add_settings(verb, described(config), name)
    return parser


def _add_settings(parser: argparse.ArgumentParser, settings: Iterable[Described], verb: str) -> None:
    found = list(settings)
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    result: Any = None
    if verb == "finetune":  # it makes either a run or a picture of the range test
        result = groups["run"].add_mutually_exclusive_group(required=True)
        found += described(FinetuneWords)
    for each in found:
        place = result if result and each.name in ("run", "find_learning_rate") else groups[each.setting.group]
        _add_setting(place, each, required=place is not result)


def _add_setting(place: Any, each: Described, *, required: bool) -> None:
    setting = each.setting
    summary = _summary(each)
    words: dict[str, Any] = {"metavar": setting.metavar or None, "help": summary}
    if setting.positional:
        several = "+" if setting.kind is tuple else None
        optional = {"nargs": "?", "default": argparse.SUPPRESS} if each.default is None else {"nargs": several}
        place.add_argument(each.name, type=_word, **optional, **words)
    elif setting.kind is bool:
        place.add_argument(each.option, action="store_true", default=argparse.SUPPRESS, help=setting.help)
    else:
        needed = required and each.default is dataclasses.MISSING
        kind = setting.parse or (_word if setting.kind in (str, tuple) else setting.kind)
        if setting.kind is tuple and setting.parse is None:
            words["nargs"] = "+"
        place.add_argument(each.option, dest=each.name, type=kind, default=argparse.SUPPRESS, required=needed, **words)


def _word(word: str) -> str:
    """What scripts give for an unset variable, "", would mean the current folder."""
    if not word:
        raise argparse.ArgumentTypeError("must not be empty")
    return word


def _summary(each: Described) -> str:
    setting = each.setting
    choices = f"; one of {', '.join(map(shown, setting.choices))}" if setting.choices else ""
    default = each.default_in_words if each.default is not None or setting.none_is else ""
    standard = "; - is standard output" if setting.written else ""
    text = f"{setting.help}{choices}{standard}" + (f" (default: {default})" if default else "")
    return text.replace("%", "%%")
