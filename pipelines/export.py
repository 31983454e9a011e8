"""export: writes the best model as a SavedModel that serves raw images, and checks it without this project."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.console.terminal import say
from pipelines.data.manifest import data_root
from pipelines.data.sample import CLASSES, draw_image
from pipelines.data.value_range import ValueRange
from pipelines.evaluation.inference import logits_of
from pipelines.evaluation.integrity import check_same_images, load_network, load_run_manifest
from pipelines.evaluation.predictions import input_spec_of
from pipelines.evaluation.run_calibration import load_calibration, temperature_of
from pipelines.images.decode import decode_file, encoded_png
from pipelines.images.stream import InputSpec
from pipelines.runs.chosen_by import learned_from
from pipelines.runs.directory import Run, read_config
from pipelines.runs.files import sha256, write_json
from pipelines.runs.lock import locked_part
from pipelines.runs.state import RunState, state_of
from pipelines.runs.temporaries import temporary_folder
from pipelines.serving.saved_model import describe, save_serving_model
from resnet_tf.errors import UserError

LARGEST_DIFFERENCE = 1e-3
CHECKED_IMAGES = 32
_DRAWN_SIZE = 256
_CHECK = Path(__file__).parent / "serving" / "check_saved_model.py"


def export(run: Run, mirror: bool = False, *, unfinished: bool = False, data: str | None = None) -> Path:
    """Writes export/saved_model/1 in the run, after a fresh process has served held-out images with it.

    Args:
        run: Run that has a model.
        mirror: Whether the probabilities are averaged over each image and its mirror image.
        unfinished: Whether the best model so far of an unfinished run will do.
        data: Folder or CSV where the images are now, or None if they have not moved.

    Returns:
        The SavedModel's folder.

    Raises:
        UserError: The run is not finished, another process exports it, a held-out image is missing or another one, the
            fresh process cannot serve the SavedModel, or the served probabilities differ by more than
            `LARGEST_DIFFERENCE`. The SavedModel is not kept then.
    """
    state = state_of(run)
    if state.text and not unfinished:
        raise UserError(f"{state.text}; finish it, or export its best model so far with --unfinished")
    with locked_part(run, run.export_report.parent):
        return _export(run, mirror, state, data)


def _export(run: Run, mirror: bool, state: RunState, data: str | None) -> Path:
    (model, classes), input_spec, temperature = load_network(run), input_spec_of(run), temperature_of(run)
    images = _held_out_images(run, data, input_spec.value_range)
    run.saved_model.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(run.saved_model.parent) as temporary:
        folder = temporary / "1"
        save_serving_model(model, classes, input_spec, folder, mirror, temperature)
        expected = _expected(images, input_spec, logits_of(model, mirror, temperature))
        difference = _check_in_fresh_process(folder, images, expected, temporary)
        if not difference <= LARGEST_DIFFERENCE:  # NaN is no agreement
            raise UserError(
                f"the SavedModel's probabilities differ from the Keras model's by {difference:.2g}, more than "
                f"{LARGEST_DIFFERENCE:g}; it is not kept"
            )
        describe(folder, run, classes, input_spec.size)
        run.export_report.unlink(missing_ok=True)  # it is written last, and marks a complete export
        _replace_folder(folder, run.saved_model)
    write_json(
        run.export_report,
        {
            "model_sha256": sha256(run.model),
            "mirror": mirror,
            "temperature": temperature,
            "finished": state.finished,
            "trained_on": learned_from(run) or None,
            "saved_model": {"images_checked": len(images), "largest_difference": difference},
        },
    )
    say(
        f"SavedModel: {run.saved_model}\nsignatures serving_default (uint8 images [n, h, w, 3]) and serve_bytes "
        f"(encoded images [n]); {len(images)} images served in a fresh process, largest difference of a "
        f"probability {difference:.2g}{_calibrated(run)}"
    )
    return run.saved_model


def _calibrated(run: Run) -> str:
    calibration = load_calibration(run)
    if calibration is None:
        return ""
    return f"\nprobabilities are calibrated (temperature {calibration.temperature:.3g} of {calibration.fitted_on})"


def _held_out_images(run: Run, data: str | None, value_range: ValueRange) -> list[np.ndarray]:
    """Returns upright pictures of the test split, or of validation if there is no test, at their own sizes.

    A model that has learned from all images is checked on some of these.

    An imported network may have come without images; then some are drawn.
    """
    manifest = load_run_manifest(run)
    if manifest.empty:
        return [np.asarray(draw_image(name, _DRAWN_SIZE, np.random.default_rng(0))) for name in CLASSES]
    split = next(split for split in ("test", "val", "train") if (manifest["split"] == split).any())
    held_out = manifest[manifest["split"] == split]
    rows: pd.DataFrame = held_out.iloc[:: max(1, len(held_out) // CHECKED_IMAGES)].head(CHECKED_IMAGES)
    root = data_root(read_config(run.config)["arguments"]["data"] if data is None else data)
    check_same_images(rows, root)
    columns = zip(rows["path"], rows["decoder"], rows["orientation"], strict=True)
    return [
        decode_file(tf.constant(str(root / path)), tf.constant(decoder), tf.constant(orientation), value_range).numpy()
        for path, decoder, orientation in columns
    ]


def _expected(images: list[np.ndarray], input_spec: InputSpec, logits: Any) -> np.ndarray:
    batch = tf.stack([input_spec.for_evaluation(tf.constant(image)) for image in images])
    return tf.nn.softmax(logits(batch)).numpy()


def _check_in_fresh_process(folder: Path, images: list[np.ndarray], expected: np.ndarray, work: Path) -> float:
    """Serves the images with TensorFlow alone, and returns the largest difference of a probability."""
    samples = work / "samples.npz"
    pictures = {f"image_{number}": image for number, image in enumerate(images)}
    encoded = {f"bytes_{number}": np.frombuffer(encoded_png(image), np.uint8) for number, image in enumerate(images)}
    np.savez(samples, expected=expected, **pictures, **encoded, allow_pickle=False)
    command = [sys.executable, "-I", str(_CHECK), str(folder), str(samples)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"a fresh process cannot serve the SavedModel: {reason}; it is not kept")
    return float(result.stdout.strip().splitlines()[-1])


def _replace_folder(source: Path, target: Path) -> None:
    """Renames a folder to `target`; what was there goes to a folder beside the source, or back after an error."""
    old = source.with_name("old")
    try:
        if target.exists():
            target.rename(old)
        source.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
