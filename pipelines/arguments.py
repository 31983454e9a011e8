"""Builds the parser of the command line from the descriptions of the settings, and parses words with it.

It depends neither on TensorFlow nor on what the commands do.
"""

import argparse
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from pipelines.config.setting import GROUPS, Described, described, shown
from pipelines.config.verbs import VERBS, FinetuneWords
from pipelines.words import understood, unknown_words
from resnet_tf import __version__
from resnet_tf.errors import UserError

PROGRAM = "resnet-tf"
# Verbs that can print what they have found or made as one JSON object. An audit writes its own to --json FILE.
WITH_JSON = ("go", "demo", "doctor", "finetune", "evaluate", "predict", "export", "push")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def parse(words: Sequence[str]) -> dict[str, Any]:
    """Returns the command's name as `verb`, and those settings that were given.

    Args:
        words: Words after `resnet-tf`.

    Raises:
        UserError: The words are no command; where one is mistyped, the message names the nearest.
        SystemExit: Help or the version was asked for, and has been printed.
    """
    words, parser = understood(words), build_parser()
    found, extra = parser.parse_known_args(words)
    given = vars(found)
    of_verb = given.pop("parser")
    if extra:
        raise unknown_words(extra, of_verb, of_verb.prog)
    return given


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands.

    Its result has the command's name in `verb`, and only those settings that were given.
    """
    parser = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} PHOTOS [OPTIONS]\n       {PROGRAM} COMMAND …\n       {PROGRAM} help COMMAND",
        description="From a folder of photos, one sub-folder per class, to a fine-tuned ResNet that can be served. "
        "With a folder or an archive of photos alone it does the whole job.",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, prog=PROGRAM)
    for name, (summary, config) in VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=summary)
        verb.set_defaults(verb=name, parser=verb)
        verb.add_argument("--debug", action="store_true", help="show where an error came from")
        verb.add_argument("--quiet", action="store_true", help="print the answer, warnings and errors alone")
        if name in WITH_JSON:
            verb.add_argument("--json", action="store_true", dest="as_json", help="print the result as JSON")
        _add_settings(verb, described(config), name)
    return parser


def _add_settings(parser: argparse.ArgumentParser, settings: Iterable[Described], verb: str) -> None:
    found = list(settings)
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    result: Any = None
    if verb == "finetune":  # it makes either a run or a picture of the range test
        result = groups["run"].add_mutually_exclusive_group()
        found += described(FinetuneWords)
    for each in found:
        place = result if result and each.name in ("run", "find_learning_rate") else groups[each.setting.group]
        _add_setting(place, each)


def _add_setting(place: Any, each: Described) -> None:
    setting = each.setting
    summary = _summary(each)
    words: dict[str, Any] = {"metavar": setting.metavar or None, "help": summary}
    if setting.positional:
        several: dict[str, Any] = {"nargs": "+"} if setting.kind is tuple else {}
        optional = setting.left_out or each.default is None
        may_miss: dict[str, Any] = {"nargs": "?", "default": argparse.SUPPRESS} if optional else {}
        place.add_argument(each.name, type=_word, **several, **may_miss, **words)
    elif setting.kind is bool:
        place.add_argument(each.option, action="store_true", default=argparse.SUPPRESS, help=setting.help)
    else:
        needed = each.default is dataclasses.MISSING and not setting.left_out
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
