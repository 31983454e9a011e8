"""completion: scripts that complete commands and options in bash, zsh and fish, generated from the settings."""

from collections.abc import Iterator

from pipelines.arguments import PROGRAM, WITH_JSON
from pipelines.config.setting import Described, described, shown
from pipelines.config.verbs import VERBS, FinetuneWords

_COMMON = (("--help", "show the options"), ("--debug", "show where an error came from"), ("--quiet", "print less"))


def completion_script(shell: str) -> str:
    """Returns the script for a shell.

    Args:
        shell: "bash", "zsh" or "fish".
    """
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]()


def _options(verb: str) -> Iterator[tuple[str, str, tuple[str, ...], bool]]:
    """Yields (option, what it is, its values if these are few, whether a value follows) for each option of a verb."""
    for option, summary in _COMMON:
        yield option, summary, (), False
    if verb in WITH_JSON:
        yield "--json", "print the result as JSON", (), False
    for each in _settings(verb):
        if not each.setting.positional:
            values = tuple(shown(choice) for choice in each.setting.choices)
            yield each.option, each.setting.help, values, each.setting.kind is not bool


def _settings(verb: str) -> list[Described]:
    return [*described(VERBS[verb][1]), *(described(FinetuneWords) if verb == "finetune" else ())]


def _words_of(verb: str) -> tuple[str, ...]:
    """Returns the values that the positional settings of a verb may have, where these are few."""
    return tuple(
        shown(choice) for each in _settings(verb) if each.setting.positional for choice in each.setting.choices
    )


def _bash() -> str:
    options, values = [], []
    for verb in VERBS:
        names = " ".join([*(name for name, *_ in _options(verb)), *_words_of(verb)])
        options.append(f"        {verb}) words='{names}' ;;")
        values += [f"        '{verb} {name}') words='{' '.join(few)}' ;;" for name, _, few, _ in _options(verb) if few]
    return "\n".join(
        [
            f"# {PROGRAM} completion bash > /etc/bash_completion.d/{PROGRAM}, or: source <({PROGRAM} completion bash)",
            "_resnet_tf() {",
            "    local words='' verb=${COMP_WORDS[1]} word=${COMP_WORDS[COMP_CWORD]}",
            "    local before=${COMP_WORDS[COMP_CWORD-1]}",
            '    [ "$verb" = help ] && [ "$COMP_CWORD" -eq 2 ] && COMP_CWORD=1',
            '    if [ "$COMP_CWORD" -eq 1 ]; then',
            f"        COMPREPLY=($(compgen -W '{' '.join(VERBS)} help --help --version' -- \"$word\"))",
            "        return",
            "    fi",
            "    case $verb in",
            *options,
            "    esac",
            '    case "$verb $before" in',
            *values,
            "    esac",
            '    COMPREPLY=($(compgen -W "$words" -- "$word"))',
            "}",
            f"complete -o bashdefault -o default -F _resnet_tf {PROGRAM}",
        ]
    )


def _zsh() -> str:
    verbs = [f"        {_quoted(f'{verb}:{_short(summary)}')}" for verb, (summary, _) in VERBS.items()]
    cases = []
    for verb in VERBS:
        cases.append(f"        {verb}) _arguments \\")
        for name, summary, few, follows in _options(verb):
            value = f":value:({' '.join(few)})" if few else ":value:_files" if follows else ""
            cases.append(f"            {_quoted(f'{name}[{_bracketed(summary)}]{value}')} \\")
        words = _words_of(verb)
        cases += [f"            {_quoted(f'*:word:({chr(32).join(words)})' if words else '*:file:_files')} ;;"]
    return "\n".join(
        [
            f"#compdef {PROGRAM}",
            f"# {PROGRAM} completion zsh > a folder of $fpath, as _{PROGRAM}; or: source <({PROGRAM} completion zsh)",
            "_resnet_tf() {",
            "    local -a verbs",
            "    verbs=(",
            *verbs,
            "        'help:the options of a command'",
            "    )",
            "    if (( CURRENT == 2 )) || { (( CURRENT == 3 )) && [[ $words[2] == help ]]; }; then",
            "        _describe command verbs",
            "        _files",
            "        return",
            "    fi",
            "    local verb=$words[2]",
            "    shift words; (( CURRENT-- ))",
            "    case $verb in",
            *cases,
            "        *) _files ;;",
            "    esac",
            "}",
            f'if [[ $funcstack[1] == _{PROGRAM} ]]; then _resnet_tf "$@"; else compdef _resnet_tf {PROGRAM}; fi',
        ]
    )


def _fish() -> str:
    lines = [f"# {PROGRAM} completion fish > ~/.config/fish/completions/{PROGRAM}.fish"]
    for verb, (summary, _) in VERBS.items():
        lines.append(f"complete -c {PROGRAM} -n __fish_use_subcommand -a {verb} -d {_fish_quoted(_short(summary))}")
        seen = f"-n '__fish_seen_subcommand_from {verb}'"
        for name, what, few, follows in _options(verb):
            value = f" -x -a '{' '.join(few)}'" if few else " -r" if follows else ""
            lines.append(f"complete -c {PROGRAM} {seen} -l {name[2:]}{value} -d {_fish_quoted(_short(what))}")
        if words := _words_of(verb):
            lines.append(f"complete -c {PROGRAM} {seen} -f -a '{' '.join(words)}'")
    lines.append(f"complete -c {PROGRAM} -n __fish_use_subcommand -a help -d 'the options of a command'")
    lines.append(f"complete -c {PROGRAM} -n '__fish_seen_subcommand_from help' -f -a '{' '.join(VERBS)}'")
    return "\n".join(lines)


def _short(text: str, most: int = 60) -> str:
    """Returns the first words of a description, as a list of completions has room for."""
    first = text.split(";")[0].split(": ")[0].replace("`", "")
    return first if len(first) <= most else f"{first[: most - 1].rsplit(' ', 1)[0]} …"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _bracketed(text: str) -> str:
    return _short(text).replace("[", "(").replace("]", ")").replace(":", "\\:")
