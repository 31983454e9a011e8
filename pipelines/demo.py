"""demo: does the main job on drawn pictures, and shows what the trained weights were worth."""

import shlex
import shutil
from dataclasses import replace
from pathlib import Path

from pipelines.config.finetune import FinetuneConfig
from pipelines.config.judging import PredictConfig
from pipelines.config.verbs import SampleConfig
from pipelines.console.clock import Stopwatch
from pipelines.console.terminal import answer, quiet, say
from pipelines.data.sample import draw_sample
from pipelines.evaluate import evaluate
from pipelines.export import export
from pipelines.finetune import finetune
from pipelines.go import sentence_of
from pipelines.predict import predict
from pipelines.runs.directory import Run
from pipelines.runs.temporaries import temporary_folder
from pipelines.training.starting_weights import choose_start
from resnet_tf.errors import UserError

_IMAGE_SIZE = 64
_PER_CLASS = 32
_EPOCHS = 3  # given, so that nobody looks at the pictures first, which are square and small
_LEAST_MINUTES = 0.25  # a training from scratch cannot do anything in less


def demo(path: Path, weights: str) -> Run:
    """Runs the verbs one after another, each as the command line would run it.

    Args:
        path: Run directory. A run that the demo has made before is replaced; anything else there is not.
        weights: Weights to start from, as for finetune.

    Returns:
        The run.

    Raises:
        UserError: There is something else than a demo at that place.
    """
    images = path.with_name(path.name + "-images")
    _remove_previous(path, images)
    draw_sample(SampleConfig(str(images), per_class=_PER_CLASS))
    config = _training(images, path, weights)
    stopwatch = Stopwatch()
    run = finetune(config)
    seconds = stopwatch.seconds
    evaluation = evaluate(run, strategy="one")
    export(run)
    predict(
        PredictConfig(
            run=str(path),
            paths=tuple(str(file) for file in sorted(images.glob("*_star/0000.jpg"))),
            top=3,
            strategy="one",
        )
    )
    scratch = None if weights == "none" else _from_scratch(config, seconds)
    _say_end(run, images, sentence_of(evaluation), scratch)
    return run


def _training(images: Path, path: Path, weights: str) -> FinetuneConfig:
    return FinetuneConfig(
        data=str(images),
        run=str(path),
        arch=choose_start(None, weights).arch,
        weights=weights,
        image_size=_IMAGE_SIZE,
        view="crop",
        epochs=_EPOCHS,
        strategy="one",
    )


def _from_scratch(config: FinetuneConfig, seconds: float) -> float:
    """Trains the same network on the same pictures from random weights, for as long, and returns its accuracy."""
    say(f"\nThe same network once more, from random weights, in the same time ({seconds:.0f} s) …")
    minutes = max(_LEAST_MINUTES, seconds / 60)
    with temporary_folder(Path(config.run).parent) as temporary, quiet(warnings=False):
        run = finetune(replace(config, run=str(temporary / "scratch"), weights="none", epochs=None, minutes=minutes))
        return float(evaluate(run, strategy="one").metrics["accuracy"])


def _say_end(run: Run, images: Path, sentence: str, scratch: float | None) -> None:
    command = f"resnet-tf predict {shlex.quote(str(run.path))}"
    say(
        f"\npictures    {images}\n"
        f"report      {(run.evaluation('test') / 'report.html').resolve().as_uri()}\n"
        f"matrix      {run.evaluation('test') / 'confusion_matrix.png'}\n"
        f"SavedModel  {run.saved_model}"
    )
    worth = "" if scratch is None else f"\nThe same from random weights, in the same time: {scratch:.2f}."
    answer(f"\n{sentence}.{worth}")
    say(
        "\nNext, with photos of your own, one folder per class in `photos`:\n"
        "  source .venv/bin/activate\n"
        "  resnet-tf audit photos                       # what is wrong with the files\n"
        "  resnet-tf photos                             # the whole job, from ImageNet weights\n"
        f"  {command} {shlex.quote(str(images / 'dotted_star'))}    # names of new pictures"
    )


def _remove_previous(path: Path, images: Path) -> None:
    for folder, mark in ((path, "config.json"), (images, "plain_star")):
        if folder.exists():
            if not (folder / mark).exists():
                raise UserError(f"{str(folder)!r} exists and is not of a demo; choose another --run")
            shutil.rmtree(folder)
