"""What a finished run says of images: the probabilities, and the table of predictions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from pipelines.console.terminal import of_part
from pipelines.evaluation.inference import Inference, images_of, outputs, softmax
from pipelines.images.lost_images import lost_images_named
from pipelines.images.stream import View, evaluation_stream
from pipelines.runs.directory import Run, finished_run, load_classes, load_model
from pipelines.runs.files import read_json
from resnet_tf.distribution import choose_strategy, scope
from resnet_tf.weights import Preprocessing
from resnet_tf.workers import Workers

BATCH_SIZE = 32


def view_of(run: Run) -> View:
    """How a run's model wants images cropped, from its config.json."""
    preprocessing = preprocessing_of(run)
    size = read_json(run.config)["arguments"]["image_size"]
    return View(size, preprocessing.crop_fraction, preprocessing.interpolation)


def preprocessing_of(run: Run) -> Preprocessing:
    """How a run's images are normalized, cropped and resized, from its config.json."""
    return Preprocessing(**read_json(run.config)["preprocessing"])  # that of an earlier version names no interpolation


def probabilities_of(
    rows: pd.DataFrame, root: Path, run: Run, workers: Workers, *, strategy: str, mirror: bool, label: str
) -> np.ndarray:
    """What a run's model says of images. Each worker reads and computes whole batches, which are those of one process,
    and so are the numbers. Collective.

    Args:
        rows: Of a manifest.
        root: Folder of their paths.
        run: A finished one.
        workers: All of them.
        strategy: Which devices compute, as `choose_strategy` names them.
        mirror: As for `logits_of`.
        label: What the progress bar says.

    Returns:
        float64 [images, classes].

    Raises:
        LostImage: One of this worker's images is gone, or cannot be read any more.
    """
    part = workers.part_of(rows, BATCH_SIZE)
    devices = workers.strategy or choose_strategy(strategy)
    with scope(devices):
        inference = Inference(load_model(run), mirror, devices)
    stream = evaluation_stream(part, root, load_classes(run), view_of(run), batch_size=BATCH_SIZE)
    with lost_images_named(part, root):
        logits = outputs(inference, images_of(stream), len(part), BATCH_SIZE, of_part(label, workers.count))
    return softmax(workers.together(logits, len(rows), BATCH_SIZE))


def prediction_table(paths: list[str], labels: list[str] | None, probabilities: np.ndarray, classes: list[str]) -> Any:
    """One row per image: path, label where known, predicted, confidence, and one column per class.

    Args:
        paths: Of the images.
        labels: True classes, or None where nobody knows them.
        probabilities: [n, classes].
        classes: Their order.
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
    """The chief's run; the others have a copy of what its model needs until the end. Collective.

    Raises:
        UserError: It is not finished, or there is none.
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
