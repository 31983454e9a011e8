"""predict: names the classes of files, folders or globs, with the same probabilities as evaluate."""

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image

from pipelines.config.judging import PredictConfig
from pipelines.console.escapes import visible
from pipelines.console.signals import Interrupts
from pipelines.console.terminal import answer, say, warn
from pipelines.data.named_files import expand, readable_rows
from pipelines.evaluation.inference import Inference, named_images_of, outputs
from pipelines.evaluation.integrity import load_network
from pipelines.evaluation.looks import Looks
from pipelines.evaluation.predictions import (
    BATCH_SIZE,
    certainty_columns,
    check_level,
    finished_run_for_all,
    input_spec_of,
    prediction_table,
    probabilities_from,
    probabilities_of,
)
from pipelines.evaluation.run_calibration import UNSURE, load_calibration, temperature_of
from pipelines.images.decode import rgb_array
from pipelines.images.stream import InputSpec
from pipelines.runs.directory import Run, finished_run, load_classes
from pipelines.runs.files import check_place, write_csv
from pipelines.runs.state import state_of
from resnet_tf.errors import UserError
from resnet_tf.workers import check_settings, joined

# The kinds of pictures that a program can pass.
Picture = str | Path | Image.Image | np.ndarray
_CURRENT = Path(".")


def predict(config: PredictConfig) -> bool:
    """Prints the likeliest classes of each image, and writes all probabilities if a file for them is named.

    Args:
        config: Run, images, and which parts of the answer to show and write.

    Returns:
        Whether some files were not images. A warning names each of them, and they are left out.

    Raises:
        UserError: A path names nothing, or none of the files is an image.
    """
    known = Run(Path(config.run))
    with joined(config.strategy) as workers, Interrupts(), finished_run_for_all(known, workers) as run:
        check_settings(workers, {"command": "predict", "mirror": config.mirror})
        if config.level is not None:  # before anything is computed
            check_level(load_calibration(run), config.level)
        found = workers.from_chief(lambda: _find(config))
        paths, classes = found["rows"]["path"], load_classes(run)
        unfinished = workers.from_chief(lambda: state_of(known).text)
        if unfinished and workers.chief:
            warn(f"{unfinished}; these are the answers of its best model so far")
        probabilities = probabilities_of(
            pd.DataFrame(found["rows"]),
            _CURRENT,
            run,
            workers,
            strategy=config.strategy,
            looks=Looks(config.mirror),
            label="predicted",
        )
        calibration = load_calibration(run)
        more = certainty_columns(calibration, probabilities, classes, config.level)
        if calibration is not None and workers.chief:
            say(f"calibrated: temperature {calibration.temperature:.3g}; unsure below {calibration.threshold:.3g}")
        if config.out and workers.chief:
            write_csv(Path(config.out), prediction_table(paths, None, probabilities, classes, more))
            say(f"wrote {visible(config.out)}")
    if workers.chief:
        show = say if config.out else answer
        show(_top_table(paths, probabilities, classes, config.top, more))
    return found["unreadable"]


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


def _find(config: PredictConfig) -> dict[str, Any]:
    """Inspects the files that were named; only the chief does so.

    Returns:
        "rows", the columns of the files that are images, and "unreadable", whether some files are not.
    """
    if config.out:
        check_place(Path(config.out))
    files = [file for pattern in config.paths for file in expand(pattern, config.follow_links)]
    rows, unreadable = readable_rows(files, "looked at")
    value_range = input_spec_of(Run(Path(config.run))).value_range
    for path, loss in zip(rows["path"], value_range.losses(rows.pop("stored_values")), strict=True):
        if loss:
            warn(f"{path}: {loss}")
    for file, reason in unreadable:
        warn(f"left out: {file} ({reason})")
    if rows.empty:
        raise UserError(f"not one of the {len(files)} files is a readable image, such as {str(files[0])!r}")
    return {"rows": rows.to_dict("list"), "unreadable": bool(unreadable)}


def _top_table(
    paths: list[str], probabilities: np.ndarray, classes: list[str], top: int, more: dict[str, list[str]]
) -> str:
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    lines = []
    for row, path in enumerate(paths):
        named = [f"{visible(classes[place])} {probabilities[row, place]:.4f}" for place in best[row]]
        if more and more["decision"][row] == UNSURE:
            named.append(UNSURE)
        if "set" in more:
            named.append(f"set: {', '.join(map(visible, json.loads(more['set'][row])))}")
        lines.append("  ".join([visible(path), *named]))
    return "\n".join(lines)
