"""The command line `resnet-tf VERB …`, which leaves the work to the verb's module.

TensorFlow is imported only when a verb needs it. Without it, --help and errors in the arguments appear at once.
"""

import dataclasses
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.arguments import build_parser
from pipelines.config.finetune import FinetuneConfig, known_settings
from pipelines.config.setting import STANDARD_OUTPUT, described
from pipelines.config.verbs import VERBS, FinetuneWords, RangeTestConfig
from pipelines.console.quiet import import_tensorflow, set_up_tensorflow
from pipelines.console.signals import Terminated
from pipelines.console.terminal import standard_output_for_data
from resnet_tf.cluster import cluster_of
from resnet_tf.errors import UserError, shortened

DONE, FOUND, COULD_NOT = 0, 1, 2
INTERRUPTED, TERMINATED = 130, 143  # as shells report SIGINT and SIGTERM


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: Words of the command line after `resnet-tf`; None takes those of this process.

    Returns:
        The exit status: 0 if the command is done, 1 if it found what it looks for, 2 if it could not run, 130 after
        Ctrl-C, and 143 after SIGTERM.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        parsed = build_parser().parse_args(words)
        set_up_tensorflow()
        given = vars(parsed)
        return _run(given.pop("verb"), given)
    except KeyboardInterrupt as reason:
        print(str(reason) or "interrupted", file=sys.stderr)
        return TERMINATED if isinstance(reason, Terminated) else INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough: `resnet-tf predict … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return COULD_NOT


def _one_line(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    first = shortened((str(error).strip().splitlines() or [""])[0])
    if isinstance(error, OSError):
        return first
    return f"{type(error).__name__}: {first} (--debug shows where)"


def _run(verb: str, given: dict[str, Any]) -> int:
    """Makes the verb's config from the given settings, calls the verb, and returns the exit status.

    If a file is written to standard output, everything else goes to standard error.
    """
    outputs = _standard_outputs(verb, given)
    if len(outputs) > 1:
        raise UserError(f"only one output can be standard output, received {' and '.join(outputs)}")
    with standard_output_for_data(bool(outputs)):
        if verb == "finetune":
            return _finetune(given)
        return _DO[verb](VERBS[verb][1](**_settings_of(VERBS[verb][1], given)))


def _settings_of(kind: Any, given: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    settings = {name: value for name, value in given.items() if name in names}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


def _standard_outputs(verb: str, given: dict[str, Any]) -> list[str]:
    """Returns the options that write a file and were given "-" for it."""
    kinds = (VERBS[verb][1], FinetuneWords) if verb == "finetune" else (VERBS[verb][1],)
    settings = [each for kind in kinds for each in described(kind)]
    return [each.option for each in settings if each.setting.written and given.get(each.name) == STANDARD_OUTPUT]


def _demo(config: Any) -> int:
    import_tensorflow()
    from pipelines.demo import demo

    demo(Path(config.run), config.weights)
    return DONE


def _sample(config: Any) -> int:
    from pipelines.data.sample import draw_sample

    draw_sample(config)
    return DONE


def _audit(config: Any) -> int:
    if config.html is not None:
        import_tensorflow()
    from pipelines.audit import audit, undo

    if config.undo is not None:
        undo(config)
        return DONE
    return FOUND if audit(config).damages else DONE


def _show_batch(config: Any) -> int:
    import_tensorflow()
    from pipelines.show_batch import show_batch

    show_batch(config)
    return DONE


def _finetune(given: dict[str, Any]) -> int:
    words = FinetuneWords(**_settings_of(FinetuneWords, given))
    settings, earlier = _settings_of(FinetuneConfig, given), None
    if words.config is not None:
        from pipelines.recipe.earlier import read_earlier

        earlier = read_earlier(Path(words.config))
        settings = {**known_settings(earlier.arguments, words.config), **settings}
    config = FinetuneConfig(**{"run": "", **settings})  # a range test makes no run
    if words.find_learning_rate is not None:
        return _find_learning_rate(RangeTestConfig(config, words.find_learning_rate), earlier)
    import_tensorflow()
    from pipelines.finetune import finetune

    finetune(config, earlier)
    return DONE


def _find_learning_rate(config: RangeTestConfig, earlier: Any) -> int:
    import_tensorflow()
    from pipelines.find_learning_rate import find_learning_rate

    find_learning_rate(config, earlier)
    return DONE


def _evaluate(config: Any) -> int:
    _check_finished(config.run, config.strategy)
    import_tensorflow()
    from pipelines.evaluate import evaluate
    from pipelines.runs.directory import Run

    evaluate(Run(Path(config.run)), config.split, config.data, config.mirror, config.strategy)
    return DONE


def _predict(config: Any) -> int:
    _check_finished(config.run, config.strategy)
    import_tensorflow()
    from pipelines.predict import predict

    return FOUND if predict(config) else DONE


def _check_finished(run: str, strategy: str) -> None:
    """Checks that a run is finished, before TensorFlow is imported.

    With several workers this comes later, because all of them must hear of an error.
    """
    from pipelines.runs.directory import finished_run

    if cluster_of(strategy) is None:
        finished_run(run)


def _export(config: Any) -> int:
    from pipelines.runs.directory import finished_run

    run = finished_run(config.run)
    import_tensorflow()
    from pipelines.export import export

    export(run, config.mirror, unfinished=config.unfinished, data=config.data)
    return DONE


def _import(config: Any) -> int:
    import_tensorflow()
    from pipelines.import_network import import_network

    import_network(config)
    return DONE


def _convert(config: Any) -> int:
    import_tensorflow()
    from pipelines.convert import convert

    convert(config)
    return DONE


def _info(config: Any) -> int:
    import_tensorflow()
    from pipelines.info import info

    info(config)
    return DONE


_DO = {
    "demo": _demo,
    "sample": _sample,
    "audit": _audit,
    "show-batch": _show_batch,
    "evaluate": _evaluate,
    "predict": _predict,
    "export": _export,
    "import": _import,
    "convert": _convert,
    "info": _info,
}
