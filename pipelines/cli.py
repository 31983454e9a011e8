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

from pipelines.arguments import parse
from pipelines.config.finetune import FinetuneConfig, known_settings, merged_settings
from pipelines.config.setting import described
from pipelines.config.verbs import VERBS, FinetuneWords, RangeTestConfig
from pipelines.console.clock import Stopwatch
from pipelines.console.quiet import imports, set_up_tensorflow
from pipelines.console.results import result, results
from pipelines.console.signals import INTERRUPTED, TERMINATED, Interrupts, Terminated
from pipelines.console.streams import is_lost, lasting_streams
from pipelines.console.terminal import answers, complain, complain_in_full, quiet, standard_output_for_data
from pipelines.first_steps import FIRST_STEPS, add_run, run_for_training, run_in_json
from pipelines.runs.places import is_standard_output
from pipelines.runs.temporaries import remove_own
from resnet_tf.cluster import cluster_of
from resnet_tf.errors import UserError, shortened

DONE, FOUND, COULD_NOT = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    The command finishes its work if nobody reads what it prints.

    Args:
        arguments: Words of the command line after `resnet-tf`; None takes those of this process.

    Returns:
        The exit status: 0 if the command is done, 1 if it found what it looks for, 2 if it could not run or its answer
        was lost, 130 after Ctrl-C, and 143 after SIGTERM.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with lasting_streams(), Interrupts() as interrupts, answers() as lost:
        try:
            status = _parse_and_run(words)
            interrupts.raise_received()  # something has swallowed the exception
        except (Exception, KeyboardInterrupt) as error:
            interrupts.end()
            if "--debug" in words and not isinstance(error, KeyboardInterrupt):
                complain_in_full(traceback.format_exc())
            return _report(error, interrupts)
        finally:
            interrupts.end()
            remove_own()
        if any(lost):
            complain("error: standard output took not all of the answer, since it is closed or full")
            return status or COULD_NOT
        return status


def _report(error: BaseException, interrupts: Interrupts) -> int:
    """Says in one line what has ended the command, and returns the exit status."""
    if not isinstance(error, KeyboardInterrupt) and interrupts.received is not None:
        try:
            interrupts.raise_received()  # a library has made another error of it
        except KeyboardInterrupt as received:
            error = received
    if isinstance(error, KeyboardInterrupt):
        complain(str(error) or "interrupted")
        return TERMINATED if isinstance(error, Terminated) else INTERRUPTED
    complain(f"error: {_one_line(error)}")
    return COULD_NOT


def _parse_and_run(words: list[str]) -> int:
    try:
        given = parse(words)
    except SystemExit:  # after --help and --version
        sys.stdout.flush()
        if is_lost(sys.stdout):
            return COULD_NOT
        raise
    set_up_tensorflow(jax_too=given["verb"] == "reproduce")
    with quiet(given.pop("quiet")):
        return _run(given.pop("verb"), given)


def _one_line(error: BaseException) -> str:
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
    as_json = given.pop("as_json", False)
    outputs = [*_standard_outputs(verb, given), *(["--json"] if as_json else [])]
    if len(outputs) > 1:
        raise UserError(f"only one output can be standard output, received {' and '.join(outputs)}")
    with standard_output_for_data(bool(outputs)), results(as_json):
        add_run(verb, given)
        if verb == "finetune":
            return _finetune(given)
        return _DO[verb](VERBS[verb][1](**_settings_of(VERBS[verb][1], given)))


def _settings_of(kind: Any, given: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    settings = {name: value for name, value in given.items() if name in names}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


def _standard_outputs(verb: str, given: dict[str, Any]) -> list[str]:
    """Returns the options that write a file and were given "-", or another name of standard output, for it."""
    kinds = (VERBS[verb][1], FinetuneWords) if verb == "finetune" else (VERBS[verb][1],)
    settings = [each for kind in kinds for each in described(kind)]
    return [each.option for each in settings if each.setting.written and is_standard_output(given.get(each.name, ""))]


def _sample(config: Any) -> int:
    with imports(tensorflow=False):
        from pipelines.data.sample import draw_sample

    draw_sample(config)
    return DONE


def _audit(config: Any) -> int:
    with imports(tensorflow=config.html is not None):
        from pipelines.audit import audit, undo

    if config.undo is not None:
        undo(config)
        return DONE
    return FOUND if audit(config).damages else DONE


def _show_batch(config: Any) -> int:
    with imports():
        from pipelines.show_batch import show_batch

    show_batch(config)
    return DONE


def _finetune(given: dict[str, Any]) -> int:
    stopwatch = Stopwatch()  # imports count too
    words = FinetuneWords(**_settings_of(FinetuneWords, given))
    settings, earlier = _settings_of(FinetuneConfig, given), None
    if words.config is not None:
        from pipelines.recipe.earlier import read_earlier

        earlier = read_earlier(Path(words.config))
        settings = merged_settings(known_settings(earlier.arguments, words.config), settings)
    config = FinetuneConfig(**{"run": "", **settings})  # a range test makes no run
    if not config.run and words.find_learning_rate is None:
        config = run_for_training(config)
    if words.find_learning_rate is not None:
        return _find_learning_rate(RangeTestConfig(config, words.find_learning_rate), earlier)
    with imports():
        from pipelines.finetune import finetune

    run = finetune(config, earlier, stopwatch)
    result(lambda: run_in_json(run))
    return DONE


def _find_learning_rate(config: RangeTestConfig, earlier: Any) -> int:
    with imports():
        from pipelines.find_learning_rate import find_learning_rate

    find_learning_rate(config, earlier)
    return DONE


def _evaluate(config: Any) -> int:
    if config.run is not None:
        _check_finished(config.run, config.strategy)
    with imports():
        from pipelines.evaluate import judge
        from pipelines.runs.directory import Run

    found = judge(config)
    result(lambda: {"run": config.run, "report": str(found.report), **found.metrics})
    if config.track:
        from pipelines.report.trackers import track_evaluation

        track_evaluation(config.track, Run(Path(config.run)), found.folder)
    return DONE


def _compare(config: Any) -> int:
    with imports():
        from pipelines.compare import compare

    compare(config)
    return DONE


def _predict(config: Any) -> int:
    _check_finished(config.run, config.strategy)
    with imports():
        from pipelines.predict import predict

    return FOUND if predict(config) else DONE


def _explain(config: Any) -> int:
    _check_finished(config.run, "one")
    with imports():
        from pipelines.explain import explain

    explain(config)
    return DONE


def _page(config: Any) -> int:
    _check_finished(config.run, "one")
    from pipelines.serving.listening import listening

    with listening(config.host, config.port) as listener:
        with imports():
            from pipelines.page import page

        page(config, listener)
    return DONE


def _check_finished(run: str, strategy: str) -> None:
    """Checks that a run is finished, before TensorFlow is imported.

    With several workers this comes later, because all of them must hear of an error.
    """
    from pipelines.runs.directory import finished_run

    if cluster_of(strategy) is None:
        finished_run(run)


def _export(config: Any) -> int:
    from pipelines.config.formats import check_installed
    from pipelines.runs.directory import finished_run
    from pipelines.runs.files import read_json

    run, targets = finished_run(config.run), config.targets()
    check_installed(targets)
    with imports():
        from pipelines.export import export, export_formats
        from pipelines.serving.deploy import check_deployment, deploy

    if config.deploy is not None:
        check_deployment(Path(config.deploy))
    if targets:
        more = {"unfinished": config.unfinished, "data": config.data, "runtime": config.runtime}
        export_formats(run, targets, config.mirror, **more)
    else:
        export(run, config.mirror, unfinished=config.unfinished, data=config.data)
    if config.deploy is not None:
        deploy(run, Path(config.deploy))
    result(
        lambda: {
            "run": config.run,
            "path": str(run.export_report.parent),
            "deploy": config.deploy,
            "exports": read_json(run.export_report),
        }
    )
    return DONE


def _import(config: Any) -> int:
    with imports():
        from pipelines.import_network import import_network

    import_network(config)
    return DONE


def _convert(config: Any) -> int:
    with imports():
        from pipelines.convert import convert

    convert(config)
    return DONE


def _info(config: Any) -> int:
    with imports():
        from pipelines.info import info

    info(config)
    return DONE


def _reproduce(config: Any) -> int:
    with imports(tensorflow=os.environ["KERAS_BACKEND"] == "tensorflow"):
        from pipelines.reproduce import reproduce

    reproduce(config)
    return DONE


_DO = {
    **FIRST_STEPS,
    "sample": _sample,
    "audit": _audit,
    "show-batch": _show_batch,
    "evaluate": _evaluate,
    "compare": _compare,
    "predict": _predict,
    "explain": _explain,
    "page": _page,
    "export": _export,
    "import": _import,
    "convert": _convert,
    "info": _info,
    "reproduce": _reproduce,
}
