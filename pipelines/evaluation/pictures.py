"""The classes of pictures that a program passes one after the other: files, PIL images and arrays."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import lru_cache
from itertools import groupby, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image

from pipelines.console.terminal import warn
from pipelines.data.looked_at import grouped, looked_at
from pipelines.data.named_files import expand, readable_rows
from pipelines.data.picture_names import picture_names
from pipelines.evaluation.answers import Answers, Network
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
from resnet_tf.workers import Workers

# The kinds of pictures that a program can pass.
Picture = str | Path | Image.Image | np.ndarray
_CURRENT = Path(".")
_GROUPS_OF_A_TABLE = 32


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
    spec = input_spec_of(known)
    names: list[str] = []
    views: list[np.ndarray] = []
    for are_paths, several in groupby(enumerate(images), lambda numbered: isinstance(numbered[1], str | Path)):
        if are_paths:
            files = [file for _, path in several for file in expand(str(path))]
            names += map(str, files)
            views.append(_views_of_files(files, spec))  # together, since a stream takes a second to begin
        else:
            for number, image in several:
                names.append(f"[{number}]")
                views.append(_view_of(image, spec))
    if not names:
        raise UserError("there are no images to predict; give at least one")
    inference, classes = _inference_of(known.path, _stamp(known), mirror)
    seen = np.concatenate(views)
    batches = (tf.constant(seen[begin : begin + BATCH_SIZE]) for begin in range(0, len(seen), BATCH_SIZE))
    found = probabilities_from(outputs(inference, batches, len(seen), BATCH_SIZE, ""))
    return prediction_table(names, None, found, classes, certainty_columns(load_calibration(known), found, classes))


def prediction_tables(
    run: Run,
    names: str | Path | Iterable[str | Path],
    *,
    mirror: bool = False,
    left_out: Callable[[str, str], None] | None = None,
) -> Iterator[pd.DataFrame]:
    """Yields the predictions for any number of pictures, about a thousand at a time, as they are computed.

    Names are taken from the iterable as they are needed, so that memory does not grow with their number. Pictures are
    looked at and decoded ahead, in threads.

    Args:
        run: Finished run.
        names: One or several files, folders, globs or http addresses.
        mirror: Whether the probabilities are averaged over each image and its mirror image.
        left_out: Function that is told the name of a picture that cannot be read, and the reason; without one, a
            warning is printed.

    Yields:
        Tables as those of `predict_images`, with the readable pictures in the order of their names.

    Raises:
        UserError: The run is not finished, or a path names nothing.
    """
    known = finished_run(run.path)
    names = [names] if isinstance(names, str | Path) else names
    network, calibration = Network(known, Workers(), "auto", mirror), load_calibration(known)
    with (
        TemporaryDirectory() as folder,
        closing(network.answers(grouped(looked_at(picture_names(map(str, names)), folder), BATCH_SIZE))) as found,
    ):
        while several := [_told(answers, left_out or _warn) for answers in islice(found, _GROUPS_OF_A_TABLE)]:
            paths = [name for answers in several for name in answers.names]
            probabilities = np.concatenate([answers.probabilities for answers in several])
            if paths:
                more = certainty_columns(calibration, probabilities, network.classes)
                yield prediction_table(paths, None, probabilities, network.classes, more)


def _told(answers: Answers, left_out: Callable[[str, str], None]) -> Answers:
    """Tells what could not be read of a group that is answered, and removes what was fetched for it."""
    for picture in answers.group:
        if not picture.readable:
            left_out(picture.name, picture.reason)
        picture.forget()
    return answers


def _warn(name: str, reason: str) -> None:
    warn(f"left out: {name} ({reason})")


@lru_cache(maxsize=1)
def _inference_of(path: Path, stamp: tuple[int, ...], mirror: bool) -> tuple[Inference, list[str]]:
    """Loads a model once for all pictures that a program names one after the other, until another one is wanted."""
    model, classes = load_network(Run(path))
    return Inference(model, mirror, temperature=temperature_of(Run(path))), classes


def _stamp(run: Run) -> tuple[int, ...]:
    """Returns numbers that change when the model or its classes are written anew."""
    states = [file.stat() for file in (run.model, run.classes, run.calibration) if file.exists()]
    return tuple(number for state in states for number in (state.st_size, state.st_mtime_ns))


def _view_of(image: Any, spec: InputSpec) -> np.ndarray:
    view: np.ndarray = spec.for_evaluation(tf.constant(rgb_array(image)))[None].numpy()
    return view


def _views_of_files(files: list[Path], spec: InputSpec) -> np.ndarray:
    rows, unreadable = readable_rows(files)
    if unreadable:
        raise UserError(f"{str(unreadable[0][0])!r} is no readable image: {unreadable[0][1]}")
    return np.concatenate([images.numpy() for images in named_images_of(rows, _CURRENT, spec, BATCH_SIZE)])
