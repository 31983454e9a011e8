"""export: writes the best model for other engines, and checks in fresh processes that its answers are the same."""

import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.config.formats import INT8, Target, check_installed
from pipelines.console.terminal import say
from pipelines.data.manifest import data_root
from pipelines.evaluation.inference import logits_of
from pipelines.evaluation.integrity import load_network, load_run_manifest
from pipelines.evaluation.predictions import input_spec_of
from pipelines.evaluation.run_calibration import load_calibration, temperature_of
from pipelines.images.decode import encoded_png
from pipelines.images.stream import InputSpec
from pipelines.report.export_page import export_page
from pipelines.runs.chosen_by import learned_from
from pipelines.runs.directory import Run, read_config
from pipelines.runs.files import sha256, write_text
from pipelines.runs.lock import locked_part
from pipelines.runs.state import state_of
from pipelines.runs.temporaries import temporary_folder
from pipelines.serving.entries import Entry, entries_of, without, write_entries
from pipelines.serving.measure import Measurement, bytes_of, measure
from pipelines.serving.photos import Photos, for_calibration, held_out
from pipelines.serving.table import table_of
from pipelines.serving.web_runtime import runtime_of
from pipelines.serving.writers import Converters, Exported
from resnet_tf.errors import UserError

LARGEST_DIFFERENCE = 1e-3
CHECKED_IMAGES = 32
_CHECK = Path(__file__).parent / "serving" / "check_saved_model.py"
_SAVED_MODEL = Target("saved_model")
_PAGE = "report.html"


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
    _check_finished(run, unfinished)
    with locked_part(run, run.export_report.parent):
        exported = _load(run, mirror)
        photos = held_out(load_run_manifest(run), _root(run, data), exported.spec, CHECKED_IMAGES)
        run.saved_model.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(run.saved_model.parent) as temporary:
            folder = temporary / "1"
            difference = _write_saved_model(exported, photos, folder)
            _keep(exported, _SAVED_MODEL, folder, _unmeasured(folder, len(photos), difference))
        _write_page(run)
    say(
        f"SavedModel: {run.saved_model}\nsignatures serving_default (uint8 images [n, h, w, 3]) and serve_bytes "
        f"(encoded images [n]); {len(photos)} images served in a fresh process, largest difference of a "
        f"probability {difference:.2g}{_calibrated(run)}"
    )
    return run.saved_model


def export_formats(
    run: Run,
    targets: Sequence[Target],
    mirror: bool = False,
    *,
    unfinished: bool = False,
    data: str | None = None,
    runtime: str | None = None,
) -> Measurement:
    """Writes exports in the run's folder "export", each measured in a fresh process beside the SavedModel.

    Args:
        run: Run that has a model.
        targets: Formats and precisions to write, from `pipelines.config.formats.targets_of`.
        mirror: Whether the probabilities are averaged over each image and its mirror image.
        unfinished: Whether the best model so far of an unfinished run will do.
        data: Folder or CSV where the images are now, or None if they have not moved.
        runtime: Where the runtime for browsers is, see `pipelines.serving.web_runtime`; None downloads it.

    Returns:
        The figures of the SavedModel in float32, which is kept if it is among the targets, and of the others.

    Raises:
        UserError: As `export`; or a package is missing, a converter fails, or an export differs by more than its bound.
            Those that differ are not kept, and the others are.
    """
    _check_finished(run, unfinished)
    check_installed(targets)
    for_browsers = runtime_of(runtime) if any(target.format == "web" for target in targets) else None
    place = run.export_report.parent
    with locked_part(run, place):
        exported, root, manifest = _load(run, mirror), _root(run, data), load_run_manifest(run)
        photos = held_out(manifest, root, exported.spec)
        eight_bits = any(target.precision == INT8 for target in targets)
        calibration = for_calibration(manifest, root, exported.spec) if eight_bits else None
        place.mkdir(parents=True, exist_ok=True)
        with temporary_folder(place) as temporary:
            converters = Converters(exported, calibration, temporary, for_browsers)
            written = [_written(exported, target, photos, converters) for target in _with_saved_model(targets)]
            logits = logits_of(exported.model, mirror, exported.temperature)
            measurement = measure(written, photos, exported.classes, logits)
            for found in measurement.exports:
                if found.target in targets and not found.complaint:
                    _keep(exported, found.target, found.path, found.as_dict())
        _write_page(run)
    say(table_of(measurement))
    refused = [f"{found.target} is not kept: {found.complaint}" for found in measurement.exports if found.complaint]
    if refused:
        raise UserError("; ".join(refused))
    say(f"report: {place / _PAGE}{_calibrated(run)}")
    return measurement


def _with_saved_model(targets: Sequence[Target]) -> list[Target]:
    """Returns the exports to measure: the SavedModel in float32, which the others are compared with, comes first."""
    return list(dict.fromkeys([_SAVED_MODEL, *targets]))


def _written(exported: Exported, target: Target, photos: Photos, converters: Converters) -> tuple[Target, Path]:
    """Writes an export into the converters' folder, and returns it with its place."""
    path = target.place(converters.work / "written")
    path.parent.mkdir(parents=True, exist_ok=True)
    say(f"writing {target}")
    if target == _SAVED_MODEL:
        _write_saved_model(exported, photos, path)
    else:
        converters.write(target, path)
    return target, path


def _check_finished(run: Run, unfinished: bool) -> None:
    state = state_of(run)
    if state.text and not unfinished:
        raise UserError(f"{state.text}; finish it, or export its best model so far with --unfinished")


def _load(run: Run, mirror: bool) -> Exported:
    model, classes = load_network(run)
    return Exported(run, model, classes, input_spec_of(run), temperature_of(run), mirror)


def _root(run: Run, data: str | None) -> Path:
    """Returns the folder of the run's images; where a network was imported without any, it is not used."""
    return data_root((read_config(run.config)["arguments"].get("data") or ".") if data is None else data)


def _write_saved_model(exported: Exported, photos: Photos, folder: Path) -> float:
    """Writes the SavedModel in float32, and returns the largest difference of a probability in a fresh process."""
    exported.save_saved_model(folder)
    images = list(islice(photos.pictures(), CHECKED_IMAGES))
    expected = _expected(images, exported.spec, logits_of(exported.model, exported.mirror, exported.temperature))
    difference = _check_in_fresh_process(folder, images, expected)
    if not difference <= LARGEST_DIFFERENCE:  # NaN is no agreement
        raise UserError(
            f"the SavedModel's probabilities differ from the Keras model's by {difference:.2g}, more than "
            f"{LARGEST_DIFFERENCE:g}; it is not kept"
        )
    return difference


def _keep(exported: Exported, target: Target, written: Path, figures: Entry) -> None:
    """Puts an export into its place in the run, and its figures into export.json."""
    run = exported.run
    place = target.place(run.export_report.parent)
    others = without(entries_of(run), target)
    write_entries(run, others)  # an export with an object in export.json is complete
    place.parent.mkdir(parents=True, exist_ok=True)
    _replace(written, place)
    write_entries(run, [*others, {**figures, **_facts(exported, place)}])


def _facts(exported: Exported, place: Path) -> Entry:
    run = exported.run
    return {
        "path": str(place.relative_to(run.export_report.parent)),
        "model_sha256": sha256(run.model),
        "mirror": exported.mirror,
        "temperature": exported.temperature,
        "finished": state_of(run).finished,
        "trained_on": learned_from(run) or None,
    }


def _unmeasured(folder: Path, images: int, difference: float) -> Entry:
    """Returns what export.json has of a SavedModel that was checked, but not measured."""
    return {
        "format": _SAVED_MODEL.format,
        "precision": _SAVED_MODEL.precision,
        "bytes": bytes_of(folder),
        "n": images,
        "max_probability_difference": difference,
        "verdict": "kept",
    }


def _write_page(run: Run) -> None:
    """Writes the page of all exports that are there, as soon as one of them was measured."""
    entries = entries_of(run)
    if any("images_per_second" in entry for entry in entries):
        write_text(run.export_report.with_name(_PAGE), export_page(run.path.resolve().name, entries))


def _calibrated(run: Run) -> str:
    calibration = load_calibration(run)
    if calibration is None:
        return ""
    return f"\nprobabilities are calibrated (temperature {calibration.temperature:.3g} of {calibration.fitted_on})"


def _expected(images: list[np.ndarray], input_spec: InputSpec, logits: Any) -> np.ndarray:
    batch = tf.stack([input_spec.for_evaluation(tf.constant(image)) for image in images])
    return tf.nn.softmax(logits(batch)).numpy()


def _check_in_fresh_process(folder: Path, images: list[np.ndarray], expected: np.ndarray) -> float:
    """Serves the images with TensorFlow alone, and returns the largest difference of a probability."""
    samples = folder.with_name("samples.npz")
    pictures = {f"image_{number}": image for number, image in enumerate(images)}
    encoded = {f"bytes_{number}": np.frombuffer(encoded_png(image), np.uint8) for number, image in enumerate(images)}
    np.savez(samples, expected=expected, **pictures, **encoded, allow_pickle=False)
    command = [sys.executable, "-I", str(_CHECK), str(folder), str(samples)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    samples.unlink()
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"a fresh process cannot serve the SavedModel: {reason}; it is not kept")
    return float(result.stdout.strip().splitlines()[-1])


def _replace(source: Path, target: Path) -> None:
    """Renames a file or folder to `target`; what was there goes beside the source, or back after an error."""
    old = source.with_name(f"old-{source.name}")  # one command may replace several
    try:
        if target.exists():
            target.rename(old)
        source.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
