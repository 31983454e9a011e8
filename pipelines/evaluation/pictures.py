"""The classes of pictures that a program passes one after the other: files, PIL images and arrays."""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image

from pipelines.data.named_files import expand, readable_rows
from pipelines.evaluation.inference import Inference, named_images_of, outputs
from pipelines.evaluation.integrity import load_network
from pipelines.evaluation.predictions import (
    BATCH_SIZE,
    certainty_columns,
    input_spec_of,
    prediction_table,
    probabilities_from,
)
from pipelines.evaluation.run_calibration import load_calibration, temperature_of
from pipelines.images.decode import rgb_array
from pipelines.images.stream import InputSpec
from pipelines.runs.directory import Run, finished_run
from resnet_tf.errors import UserError

# The kinds of pictures that a program can pass.
Picture = str | Path | Image.Image | np.ndarray
_CURRENT = Path(".")


def predict_images(run: Run, images: Iterable[Picture], *, mirror: bool = False) -> pd.DataFrame:
    """Returns the predicted classes of pictures that a program passes.

    The network and its view of each picture are the same as in `predict`.

    Args:
        run: Finished run.
        images: Pictures, each a path of a file, folder or glob; a PIL image; or an array, uint8 RGB [height, width, 3]
            or gray [height, width].
        mirror: Whether the probabilities are averaged over each image and its mirror image.

    Returns:
        Table with one row per picture: path, predicted, confidence, decision if the run is calibrated, and one column
        "p:CLASS" per class. A picture that is not given as a path has its position instead, from "[0]" on.

    Raises:
        UserError: The run is not finished, a path names nothing or is not an image, an array is of a different kind,
            or there are no images.
    """
    known = finished_run(run.path)
    spec, names, views = input_spec_of(known), [], []
    for number, image in enumerate(images):
        if isinstance(image, str | Path):
            files = expand(str(image))
            names += [str(file) for file in files]
            views.append(_views_of_files(files, spec))
        else:
            names.append(f"[{number}]")
            views.append(spec.for_evaluation(tf.constant(rgb_array(image)))[None].numpy())
    if not names:
        raise UserError("there are no images to predict; give at least one")
    inference, classes = _inference_of(known.path, _stamp(known), mirror)
    seen = np.concatenate(views)
    batches = (tf.constant(seen[begin : begin + BATCH_SIZE]) for begin in range(0, len(seen), BATCH_SIZE))
    found = probabilities_from(outputs(inference, batches, len(seen), BATCH_SIZE, ""))
    return prediction_table(names, None, found, classes, certainty_columns(load_calibration(known), found, classes))


@lru_cache(maxsize=1)
def _inference_of(path: Path, stamp: tuple[int, ...], mirror: bool) -> tuple[Inference, list[str]]:
    """Loads a model once for all pictures that a program names one after the other, until another one is wanted."""
    model, classes = load_network(Run(path))
    return Inference(model, mirror, temperature=temperature_of(Run(path))), classes


def _stamp(run: Run) -> tuple[int, ...]:
    """Returns numbers that change when the model or its classes are written anew."""
    states = [file.stat() for file in (run.model, run.classes, run.calibration) if file.exists()]
    return tuple(number for state in states for number in (state.st_size, state.st_mtime_ns))


def _views_of_files(files: list[Path], spec: InputSpec) -> np.ndarray:
    rows, unreadable = readable_rows(files)
    if unreadable:
        raise UserError(f"{str(unreadable[0][0])!r} is no readable image: {unreadable[0][1]}")
    return np.concatenate([images.numpy() for images in named_images_of(rows, _CURRENT, spec, BATCH_SIZE)])
