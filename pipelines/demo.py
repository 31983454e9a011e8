"""demo: does the whole job with drawn images: it draws a sample, fine-tunes, evaluates, exports and predicts."""

import shutil
from pathlib import Path

from pipelines.config.finetune import FinetuneConfig
from pipelines.config.judging import PredictConfig
from pipelines.config.verbs import SampleConfig
from pipelines.console.terminal import say
from pipelines.data.sample import draw_sample
from pipelines.evaluate import evaluate
from pipelines.export import export
from pipelines.finetune import finetune
from pipelines.predict import predict
from pipelines.runs.directory import Run
from resnet_tf.errors import UserError

_IMAGE_SIZE = 64
_PER_CLASS = 44
_EPOCHS = 10


def demo(path: Path, weights: str) -> None:
    """Runs the verbs one after another, each as the command line would run it.

    Args:
        path: Run directory. A run that the demo has made before is replaced; anything else there is not.
        weights: Weights to start from, as for finetune.

    Raises:
        UserError: There is something else than a demo at that place.
    """
    images = path.with_name(path.name + "-images")
    _remove_previous(path, images)
    draw_sample(SampleConfig(str(images), per_class=_PER_CLASS))
    config = FinetuneConfig(
        data=str(images),
        run=str(path),
        arch="resnet18",
        weights=weights,
        image_size=_IMAGE_SIZE,
        epochs=_EPOCHS,
        strategy="one",
    )
    run = finetune(config)
    evaluate(run, strategy="one")
    export(run)
    predict(
        PredictConfig(
            run=str(path),
            paths=tuple(str(file) for file in sorted(images.glob("*_star/0000.jpg"))),
            top=3,
            strategy="one",
        )
    )
    _say_where(run, images, weights)


def _say_where(run: Run, images: Path, weights: str) -> None:
    used = "no pretrained weights, trained from scratch" if weights == "none" else f"the weights {weights}"
    say(
        f"\nThe demo used {used}.\n"
        f"images      {images}\n"
        f"report      {run.evaluation('test') / 'report.html'}\n"
        f"matrix      {run.evaluation('test') / 'confusion_matrix.png'}\n"
        f"SavedModel  {run.saved_model}"
    )


def _remove_previous(path: Path, images: Path) -> None:
    for folder, mark in ((path, "config.json"), (images, "plain_star")):
        if folder.exists():
            if not (folder / mark).exists():
                raise UserError(f"{str(folder)!r} exists and is not of a demo; choose another --run")
            shutil.rmtree(folder)
