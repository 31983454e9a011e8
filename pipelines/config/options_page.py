"""The page docs/options.md, made from the descriptions of the settings. `make docs` writes it."""

import sys
from collections.abc import Iterable
from dataclasses import MISSING

from pipelines.config.setting import GROUPS, Described, described, sentence
from pipelines.config.verbs import VERBS, FinetuneWords

_TITLE = """# All options

This page is generated from the descriptions in `pipelines/config/`; `make docs` writes it again. The same, without the
reasons, is shown by `resnet-tf VERB --help`, and in Python by `help(FinetuneConfig)`. Where an option names a file to
write, `-` is standard output, and everything else that the command says then goes to standard error. All verbs take
`--debug` and `--quiet`, and many take `--json` ([for scripts](first-steps.md#for-scripts)). `resnet-tf --version`
prints the version.
"""


def render_options() -> str:
    """The whole page, as Markdown."""
    parts = [_TITLE]
    for verb, (summary, config) in VERBS.items():
        found = list(described(config))
        if verb == "finetune":
            found += described(FinetuneWords)
        words = " ".join(each.option for each in found if each.setting.positional)
        parts.append(f"## {verb}\n\n`resnet-tf {verb}{' ' if words else ''}{words}`: {summary}.\n")
        for group in GROUPS:
            settings = [each for each in found if each.setting.group == group]
            if settings:
                parts.append(_table(group, settings))
    return "\n".join(parts)


def _table(group: str, settings: Iterable[Described]) -> str:
    rows = [f"| {group} | what it is | default | values |", "|---|---|---|---|"]
    for each in settings:
        value = f" {each.setting.metavar}" if each.setting.metavar and not each.setting.positional else ""
        why = f" {each.setting.why}" if each.setting.why else ""
        cells = (f"`{each.option}{value}`", f"{sentence(each.setting.help)}{why}", _default(each), each.range)
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def _default(each: Described) -> str:
    if each.default is MISSING:
        return each.setting.left_out or "must be given"
    return "off" if each.setting.kind is bool else each.default_in_words


if __name__ == "__main__":
    sys.stdout.write(render_options())
