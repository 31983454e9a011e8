"""The command line: `resnet-tf VERB …`. A verb's module does the work.

Nothing imports TensorFlow before a verb needs it, so that --help and a wrong argument answer at once.
"""

import argparse
import dataclasses
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.arguments import build_parser
from pipelines.config.finetune import (
    EXPORT_FORMATS,
    SPLITS,
    STRATEGIES,
    AuditConfig,
    ConvertConfig,
    FinetuneConfig,
    ImportConfig,
    NetworkConfig,
    PredictConfig,
    RangeTestConfig,
    SampleConfig,
    ShowBatchConfig,
    check_choice,
    known_settings,
)
from pipelines.console.quiet import import_tensorflow
from pipelines.console.signals import Terminated
from resnet_tf.cluster import cluster_of
from resnet_tf.errors import UserError

DONE, FOUND, COULD_NOT = 0, 1, 2
INTERRUPTED, TERMINATED = 130, 143  # as shells report SIGINT and SIGTERM


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0 done; 1 the command ran and found what it looks for; 2 it could not run; 130 Ctrl-C; 143 SIGTERM.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        parsed = build_parser().parse_args(words)
        _set_up_tensorflow()
        return _VERBS[parsed.verb](parsed)
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


def _set_up_tensorflow() -> None:
    """What TensorFlow reads from the environment when it is imported; the user's own choices go first."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # oneDNN's convolutions are off by default on processors without AVX512-VNNI. On two such cores (AMD EPYC 7003)
    # they make a step of ResNet-18 with 32 images 1.3 (224 pixels) to 3.6 (64 pixels) times faster than Eigen's.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # the streams and the export are TensorFlow's


def _one_line(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    first = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, OSError):
        return first
    return f"{type(error).__name__}: {first} (--debug shows where)"


def _demo(parsed: argparse.Namespace) -> int:
    import_tensorflow()
    from pipelines.demo import demo

    demo(Path(parsed.run), parsed.weights)
    return DONE


def _sample(parsed: argparse.Namespace) -> int:
    config = _config(SampleConfig, parsed)
    from pipelines.data.sample import draw_sample

    draw_sample(config)
    return DONE


def _audit(parsed: argparse.Namespace) -> int:
    config = _config(AuditConfig, parsed)
    if config.html is not None:
        import_tensorflow()
    from pipelines.audit import audit

    return FOUND if audit(config) else DONE


def _show_batch(parsed: argparse.Namespace) -> int:
    config = _config(ShowBatchConfig, parsed)
    import_tensorflow()
    from pipelines.show_batch import show_batch

    show_batch(config)
    return DONE


def _finetune(parsed: argparse.Namespace) -> int:
    names = {field.name for field in dataclasses.fields(FinetuneConfig)}
    settings = {name: value for name, value in vars(parsed).items() if name in names}
    earlier = None
    if parsed.config:
        from pipelines.recipe.earlier import read_earlier

        earlier = read_earlier(Path(parsed.config))
        settings = {**known_settings(earlier.arguments, parsed.config), **settings}
    config = FinetuneConfig(**settings)
    if parsed.find_learning_rate is not None:
        return _find_learning_rate(RangeTestConfig(config, parsed.find_learning_rate), earlier)
    import_tensorflow()
    from pipelines.finetune import finetune

    finetune(config, earlier)
    return DONE


def _find_learning_rate(config: RangeTestConfig, earlier: Any) -> int:
    import_tensorflow()
    from pipelines.find_learning_rate import find_learning_rate

    find_learning_rate(config, earlier)
    return DONE


def _evaluate(parsed: argparse.Namespace) -> int:
    check_choice("--split", parsed.split, SPLITS)
    check_choice("--strategy", parsed.strategy, STRATEGIES)
    _check_finished(parsed.run, parsed.strategy)
    import_tensorflow()
    from pipelines.evaluate import evaluate
    from pipelines.runs.directory import Run

    evaluate(Run(Path(parsed.run)), parsed.split, parsed.data, parsed.mirror, parsed.strategy)
    return DONE


def _predict(parsed: argparse.Namespace) -> int:
    parsed.paths = tuple(parsed.paths)
    config = _config(PredictConfig, parsed)
    _check_finished(config.run, config.strategy)
    import_tensorflow()
    from pipelines.predict import predict

    return FOUND if predict(config) else DONE


def _check_finished(run: str, strategy: str) -> None:
    """At once, where no other workers must hear of it."""
    from pipelines.runs.directory import finished_run

    if cluster_of(strategy) is None:
        finished_run(run)


def _export(parsed: argparse.Namespace) -> int:
    for name in parsed.format:
        check_choice("--format", name, EXPORT_FORMATS)
    from pipelines.runs.directory import finished_run

    run = finished_run(parsed.run)
    import_tensorflow()
    from pipelines.export import export

    export(run, parsed.mirror)
    return DONE


def _import(parsed: argparse.Namespace) -> int:
    config = _config(ImportConfig, parsed)
    import_tensorflow()
    from pipelines.import_network import import_network

    import_network(config)
    return DONE


def _convert(parsed: argparse.Namespace) -> int:
    config = _config(ConvertConfig, parsed)
    import_tensorflow()
    from pipelines.convert import convert

    convert(config)
    return DONE


def _info(parsed: argparse.Namespace) -> int:
    config = _config(NetworkConfig, parsed)
    import_tensorflow()
    from pipelines.info import info

    info(config)
    return DONE


def _config(kind: Any, parsed: argparse.Namespace) -> Any:
    return kind(**{field.name: getattr(parsed, field.name) for field in dataclasses.fields(kind)})


_VERBS = {
    "demo": _demo,
    "sample": _sample,
    "audit": _audit,
    "show-batch": _show_batch,
    "finetune": _finetune,
    "evaluate": _evaluate,
    "predict": _predict,
    "export": _export,
    "import": _import,
    "convert": _convert,
    "info": _info,
}
