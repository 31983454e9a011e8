"""predict: files, folders or globs to a table of classes, with the probabilities that evaluate gives."""

import glob
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image

from pipelines.config.verbs import PredictConfig
from pipelines.console.signals import Interrupts
from pipelines.console.terminal import progress, say, warn
from pipelines.data.inspect import inspect_images
from pipelines.data.value_range import values_of
from pipelines.evaluation.inference import Inference, images_of, outputs, softmax
from pipelines.evaluation.predictions import (
    BATCH_SIZE,
    finished_run_for_all,
    input_spec_of,
    prediction_table,
    probabilities_of,
)
from pipelines.images.decode import rgb_array
from pipelines.images.lost_images import lost_images_named
from pipelines.images.stream import ImageSource, InputSpec, evaluation_stream
from pipelines.runs.directory import Run, finished_run, load_classes, load_model
from pipelines.runs.files import check_place, write_csv
from resnet_tf.errors import UserError
from resnet_tf.workers import check_settings, joined

# A picture, wherever a program has it from.
Picture = str | Path | Image.Image | np.ndarray
_CURRENT = Path(".")


def predict(config: PredictConfig) -> bool:
    """Prints the likeliest classes of each image, and writes all probabilities where a file is named.

    Args:
        config: Run, images, and what of the answer.

    Returns:
        Whether some files were no images; they are named and left out.

    Raises:
        UserError: A path names nothing, or not one file is an image.
    """
    known = Run(Path(config.run))
    with joined(config.strategy) as workers, Interrupts(), finished_run_for_all(known, workers) as run:
        check_settings(workers, {"command": "predict", "mirror": config.mirror})
        found = workers.from_chief(lambda: _find(config))
        paths, classes = found["rows"]["path"], load_classes(run)
        probabilities = probabilities_of(
            pd.DataFrame(found["rows"]),
            _CURRENT,
            run,
            workers,
            strategy=config.strategy,
            mirror=config.mirror,
            label="predicted",
        )
        if config.out and workers.chief:
            write_csv(Path(config.out), prediction_table(paths, None, probabilities, classes))
            say(f"wrote {config.out}")
    if workers.chief:
        say(_top_table(paths, probabilities, classes, config.top))
    return found["unreadable"]


def predict_images(run: Run, images: Iterable[Picture], *, mirror: bool = False) -> pd.DataFrame:
    """Names the classes of pictures that a program has: the same network, and the same view of each picture, as
    `predict` has of files.

    Args:
        run: A finished run.
        images: Each of them a path of a file, folder or glob; a PIL image; or an array, uint8 RGB [height, width, 3] or
            gray [height, width].
        mirror: Whether the probabilities are means over each image and its mirror image.

    Returns:
        One row per picture: path ("[n]" for the n-th of the arguments where that is no path), predicted, confidence,
        and one column per class.

    Raises:
        UserError: The run is not finished, a path names nothing or is no image, or an array is of another kind.
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
    inference, seen = Inference(load_model(known), mirror), np.concatenate(views)
    batches = (tf.constant(seen[begin : begin + BATCH_SIZE]) for begin in range(0, len(seen), BATCH_SIZE))
    logits = outputs(inference, batches, len(seen), BATCH_SIZE, "")
    return prediction_table(names, None, softmax(logits), load_classes(known))


def _views_of_files(files: list[Path], spec: InputSpec) -> np.ndarray:
    rows, unreadable = _readable_rows(files)
    if unreadable:
        raise UserError(f"{str(unreadable[0][0])!r} is no readable image: {unreadable[0][1]}")
    with lost_images_named(rows, _CURRENT, BATCH_SIZE, spec.value_range) as watched:
        batches = evaluation_stream(ImageSource(rows, _CURRENT, []), spec, BATCH_SIZE)
        return np.concatenate([images.numpy() for images in watched(images_of(batches))])


def _find(config: PredictConfig) -> dict[str, Any]:
    """Of the files that were named: "rows", the columns of those that are images, and whether some are "unreadable".
    Only the chief looks."""
    if config.out:
        check_place(Path(config.out))
    files = [file for pattern in config.paths for file in expand(pattern)]
    rows, unreadable = _readable_rows(files, "looked at")
    value_range = input_spec_of(Run(Path(config.run))).value_range
    for path, text in zip(rows["path"], rows.pop("stored_values"), strict=True):
        values = values_of(text)
        if values and (loss := value_range.loss(values)):
            warn(f"{path}: {loss}")
    for file, reason in unreadable:
        warn(f"left out: {file} ({reason})")
    if rows.empty:
        raise UserError(f"not one of the {len(files)} files is a readable image, such as {str(files[0])!r}")
    return {"rows": rows.to_dict("list"), "unreadable": bool(unreadable)}


def expand(pattern: str) -> list[Path]:
    """The files behind a file name, a folder (all files in it, at any depth) or a glob.

    Raises:
        UserError: There are none.
    """
    path = Path(pattern)
    if path.is_file():
        return [path]
    found = path.rglob("*") if path.is_dir() else (Path(name) for name in glob.iglob(pattern, recursive=True))
    files = sorted(file for file in found if file.is_file() and not file.name.startswith("."))
    if not files:
        raise UserError(f"no file is named or matched by {pattern!r}")
    return files


def _readable_rows(files: list[Path], label: str = "") -> tuple[pd.DataFrame, list[tuple[Path, str]]]:
    rows, unreadable = [], []
    looked = inspect_images(files, None, lambda found: progress(found, len(files), label))
    for file, facts in zip(files, looked, strict=True):
        if facts.readable:
            rows.append((str(file), "", facts.decoder, facts.orientation, facts.stored_values))
        else:
            unreadable.append((file, facts.reason))
    return pd.DataFrame(rows, columns=["path", "label", "decoder", "orientation", "stored_values"]), unreadable


def _top_table(paths: list[str], probabilities: np.ndarray, classes: list[str], top: int) -> str:
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return "\n".join(
        f"{path}  " + "  ".join(f"{classes[place]} {probabilities[row, place]:.4f}" for place in best[row])
        for row, path in enumerate(paths)
    )
