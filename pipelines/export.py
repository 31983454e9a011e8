"""export: the best model as a SavedModel that serves raw images, checked in a process without this project."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.console.terminal import say
from pipelines.data.manifest import data_root, load_manifest
from pipelines.data.sample import CLASSES, draw_image
from pipelines.data.value_range import ValueRange
from pipelines.evaluation.inference import logits_of
from pipelines.evaluation.predictions import input_spec_of
from pipelines.images.decode import decode_file, decode_region_of_bytes, encoded_png
from pipelines.images.stream import InputSpec
from pipelines.runs.directory import Run, load_classes, load_model
from pipelines.runs.files import read_json, sha256, write_json
from resnet_tf.errors import UserError
from resnet_tf.weights.readers import SAVED_MODEL_DESCRIPTION, said_by_keras_file
from resnet_tf.weights.weight_file import description

LARGEST_DIFFERENCE = 1e-3
CHECKED_IMAGES = 32
_DRAWN_SIZE = 256
_CHECK = Path(__file__).parent / "evaluation" / "check_saved_model.py"


def export(run: Run, mirror: bool = False) -> Path:
    """Writes export/saved_model/1 in the run, after a fresh process has served held-out images with it.

    Args:
        run: A finished run.
        mirror: Whether the probabilities are means over each image and its mirror image.

    Returns:
        The SavedModel's folder.

    Raises:
        UserError: The served probabilities differ by more than `LARGEST_DIFFERENCE`; nothing is left then.
    """
    classes, model, input_spec = load_classes(run), load_model(run), input_spec_of(run)
    images = _held_out_images(run, input_spec.value_range)
    run.saved_model.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=run.saved_model.parent, prefix=".writing-") as temporary:
        folder = Path(temporary) / "1"
        save_serving_model(model, classes, input_spec, folder, mirror)
        expected = _expected(model, images, input_spec, mirror)
        difference = _check_in_fresh_process(folder, images, expected, Path(temporary))
        if difference > LARGEST_DIFFERENCE:
            raise UserError(
                f"the SavedModel's probabilities differ from the Keras model's by {difference:.2g}, more than "
                f"{LARGEST_DIFFERENCE:g}; it is not kept"
            )
        _describe(folder, run)
        _replace_folder(folder, run.saved_model)
    write_json(
        run.export_report,
        {
            "model_sha256": sha256(run.model),
            "mirror": mirror,
            "saved_model": {"images_checked": len(images), "largest_difference": difference},
        },
    )
    say(
        f"SavedModel: {run.saved_model}\nsignatures serving_default (uint8 images [n, h, w, 3]) and serve_bytes "
        f"(encoded images [n]); {len(images)} images served in a fresh process, largest difference of a "
        f"probability {difference:.2g}"
    )
    return run.saved_model


def save_serving_model(
    model: keras.Model, classes: list[str], input_spec: InputSpec, folder: Path, mirror: bool = False
) -> None:
    """A SavedModel with `serving_default` and `serve_bytes`; the class names are in it and in its assets.

    Args:
        model: From uint8 images of the view's size to logits.
        classes: Order of the logits.
        input_spec: How images are resized and cropped.
        folder: To be made.
        mirror: As for `export`.
    """
    with tempfile.TemporaryDirectory() as temporary:
        labels = Path(temporary) / "labels.txt"
        labels.write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
        module = _Serving(model, classes, input_spec, labels, mirror)
        signatures = {"serving_default": module.serve_images, "serve_bytes": module.serve_bytes}
        tf.saved_model.save(module, str(folder), signatures=signatures)


def _describe(folder: Path, run: Run) -> None:
    """Writes what the file of the model says of itself, so that whoever takes the weights from the SavedModel knows
    what images must look like. The run's config.json has the normalization of the weights that training began with:
    where these wanted BGR, the model has a first convolution for RGB."""
    said = said_by_keras_file(run.model)
    assert said is not None, run.model  # every version has written it
    text = description(
        said.preprocessing,
        said.structure,
        architecture=said.architecture,
        image_size=said.image_size,
        classes=said.classes,
    )
    file = folder / SAVED_MODEL_DESCRIPTION
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")


class _Serving(tf.Module):
    def __init__(
        self, model: keras.Model, classes: list[str], input_spec: InputSpec, labels: Path, mirror: bool
    ) -> None:
        super().__init__()
        self._logits, self._input_spec = logits_of(model, mirror), input_spec
        self._model_variables = [variable.value for variable in model.variables]  # so that TensorFlow saves them
        self._names = tf.constant(classes)
        self._labels = tf.saved_model.Asset(str(labels))

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")])
    def serve_images(self, images: Any) -> dict[str, Any]:
        return self._answer(tf.map_fn(self._input_spec.for_evaluation, images, fn_output_signature=self._spec()))

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name="encoded")])
    def serve_bytes(self, encoded: Any) -> dict[str, Any]:
        view, value_range = self._input_spec.evaluation_region, self._input_spec.value_range
        prepare = lambda content: decode_region_of_bytes(content, view, value_range)  # noqa: E731
        return self._answer(tf.map_fn(prepare, encoded, fn_output_signature=self._spec()))

    def _spec(self) -> tf.TensorSpec:
        return tf.TensorSpec([self._input_spec.size, self._input_spec.size, 3], tf.uint8)

    def _answer(self, images: Any) -> dict[str, Any]:
        probabilities = tf.nn.softmax(self._logits(images))
        winners = tf.argmax(probabilities, axis=1)
        return {
            "probabilities": probabilities,
            "class_index": winners,
            "class_name": tf.gather(self._names, winners),
        }


def _held_out_images(run: Run, value_range: ValueRange) -> list[np.ndarray]:
    """Upright pictures of the test split, or of validation where there is no test, at their own sizes. An imported
    network may have come without images: then some are drawn."""
    manifest = load_manifest(run.manifest)
    if manifest.empty:
        return [np.asarray(draw_image(name, _DRAWN_SIZE, np.random.default_rng(0))) for name in CLASSES]
    split = "test" if (manifest["split"] == "test").any() else "val"
    held_out = manifest[manifest["split"] == split]
    rows: pd.DataFrame = held_out.iloc[:: max(1, len(held_out) // CHECKED_IMAGES)].head(CHECKED_IMAGES)
    root = data_root(read_json(run.config)["arguments"]["data"])
    missing = [path for path in rows["path"] if not (root / path).is_file()]
    if missing:
        raise UserError(f"the check needs held-out images, and {missing[0]!r} is not in {str(root)!r} any more")
    columns = zip(rows["path"], rows["decoder"], rows["orientation"], strict=True)
    return [
        decode_file(tf.constant(str(root / path)), tf.constant(decoder), tf.constant(orientation), value_range).numpy()
        for path, decoder, orientation in columns
    ]


def _expected(model: keras.Model, images: list[np.ndarray], input_spec: InputSpec, mirror: bool) -> np.ndarray:
    batch = tf.stack([input_spec.for_evaluation(tf.constant(image)) for image in images])
    return tf.nn.softmax(logits_of(model, mirror)(batch)).numpy()


def _check_in_fresh_process(folder: Path, images: list[np.ndarray], expected: np.ndarray, work: Path) -> float:
    """Serves the images with TensorFlow alone; returns the largest difference of a probability."""
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
    if target.exists():
        old = source.with_name("old")
        target.rename(old)
    shutil.move(source, target)
