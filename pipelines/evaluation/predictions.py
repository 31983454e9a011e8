"""Predictions of a finished run: the probabilities of images, and the table of predictions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from pipelines.console.terminal import of_part
from pipelines.data.value_range import range_of_config
from pipelines.evaluation.inference import Inference, images_of, outputs, softmax
from pipelines.images.lost_images import lost_images_named
from pipelines.images.stream import ImageSource, InputSpec, evaluation_stream
from pipelines.runs.directory import Run, finished_run, load_classes, load_model
from pipelines.runs.files import read_json
from resnet_tf.distribution import choose_strategy, scope
from resnet_tf.weights import Preprocessing
from resnet_tf.workers import Workers

BATCH_SIZE = 32


def input_spec_of(run: Run) -> InputSpec:
    """Reads from a run's config.json how its model's images are sized and cropped."""
    preprocessing = preprocessing_of(run)
    size = read_json(run.config)["arguments"]["image_size"]
    return InputSpec(
        size,
        preprocessing.crop_fraction,
        preprocessing.interpolation,
        value_range=range_of_config(read_json(run.config)),
    )


def preprocessing_of(run: Run) -> Preprocessing:
    """Reads from a run's config.json how its images are normalized, cropped and resized."""
    return Preprocessing(**read_json(run.config)["preprocessing"])  # old configs lack interpolation


def probabilities_of(
    rows: pd.DataFrame, root: Path, run: Run, workers: Workers, *, strategy: str, mirror: bool, label: str
) -> np.ndarray:
    """Returns the probabilities that a run's model gives to images. All workers must call this together.

    Each worker reads and computes whole batches. The batches are those of a single process, so the numbers are the
    same too.

    Args:
        rows: Rows of a manifest.
        root: Folder that their paths are relative to.
        run: Finished run.
        workers: All workers.
        strategy: Name of the devices that compute, see `choose_strategy`.
        mirror: Whether the probabilities are averaged over each image and its mirror image, see `logits_of`.
        label: Label of the progress bar.

    Returns:
        float64 [images, classes].

    Raises:
        LostImage: One of this worker's images is missing or can no longer be read.
    """
    part = workers.part_of(rows, BATCH_SIZE)
    devices = workers.strategy or choose_strategy(strategy)
    with scope(devices):
        inference = Inference(load_model(run), mirror, devices)
    input_spec = input_spec_of(run)
    stream = evaluation_stream(ImageSource(part, root, load_classes(run)), input_spec, BATCH_SIZE)
    with lost_images_named(part, root, BATCH_SIZE, input_spec.value_range) as watched:
        logits = outputs(inference, watched(images_of(stream)), len(part), BATCH_SIZE, of_part(label, workers.count))
    return softmax(workers.together(logits, len(rows), BATCH_SIZE))


def prediction_table(paths: list[str], labels: list[str] | None, probabilities: np.ndarray, classes: list[str]) -> Any:
    """Returns the table of predictions, with a row per image.

    Its columns are path, label if known, predicted, confidence, and one column per class.

    Args:
        paths: Path of each image.
        labels: True class of each image, or None if unknown.
        probabilities: float [images, classes].
        classes: Names of the classes, in the order of the probabilities.
    """
    winners = probabilities.argmax(axis=1)
    table = pd.DataFrame({"path": paths})
    if labels is not None:
        table["label"] = labels
    table["predicted"] = [classes[winner] for winner in winners]
    table["confidence"] = probabilities.max(axis=1)
    return pd.concat([table, pd.DataFrame(probabilities, columns=classes)], axis=1)


@contextmanager
def finished_run_for_all(run: Run, workers: Workers) -> Iterator[Run]:
    """Gives all workers the chief's run. All workers must call this together.

    The other workers get a copy of the files that its model needs, which is removed at the end of the `with` block.

    Raises:
        UserError: There is no such run, or it is not finished.
    """
    if workers.alone:
        yield finished_run(run.path)
        return

    def read() -> dict[str, np.ndarray]:
        return {file.name: np.fromfile(file, np.uint8) for file in finished_run(run.path).of_model}

    contents = workers.arrays_from_chief(read)
    if workers.chief:
        yield run
        return
    with TemporaryDirectory() as folder:
        copy = Run(Path(folder), writable=False)
        for file in copy.of_model:
            file.write_bytes(contents[file.name].tobytes())
        yield copy
