"""The SavedModel that serves raw images, with the names of the classes in it."""

import tempfile
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from pipelines.console.escapes import visible
from pipelines.evaluation.inference import logits_of
from pipelines.images.decode import decode_region_of_bytes
from pipelines.images.stream import InputSpec
from pipelines.runs.directory import Run
from resnet_tf.weights.readers import SAVED_MODEL_DESCRIPTION, said_by_keras_file
from resnet_tf.weights.weight_file import description


def save_serving_model(
    model: keras.Model,
    classes: list[str],
    input_spec: InputSpec,
    folder: Path,
    mirror: bool = False,
    temperature: float = 1.0,
) -> None:
    """Writes a SavedModel with the signatures `serving_default` and `serve_bytes`.

    The class names are in the SavedModel and in its assets.

    Args:
        model: Model from uint8 images of the view's size to logits.
        classes: Names of the classes, in the order of the logits.
        input_spec: Size and crop of the images.
        folder: Folder to make.
        mirror: Whether the probabilities are averaged over each image and its mirror image.
        temperature: Number that logits are divided by.
    """
    with tempfile.TemporaryDirectory() as temporary:
        labels = Path(temporary) / "labels.txt"
        labels.write_text("".join(f"{_one_line(name)}\n" for name in classes), encoding="utf-8")
        module = _Serving(logits_of(model, mirror, temperature), model.variables, classes, input_spec, labels)
        signatures = {"serving_default": module.serve_images, "serve_bytes": module.serve_bytes}
        tf.saved_model.save(module, str(folder), signatures=signatures)


def _one_line(name: str) -> str:
    """Returns a class name for a list with one name a line; `class_name` has line breaks unchanged."""
    return name if len(f"{name}\n".splitlines()) == 1 else visible(name)


def describe(folder: Path, run: Run, classes: list[str], image_size: int) -> None:
    """Writes the description of the model's file into the SavedModel.

    It says what images must look like, for those who take the weights from the SavedModel. The run's config.json has
    the normalization of the weights that training began with. If these want BGR, it does not suit the model, whose
    first convolution is for RGB.
    """
    said = said_by_keras_file(run.model)
    assert said is not None, run.model  # every version has written a description
    text = description(
        said.preprocessing,
        said.structure,
        architecture=said.architecture,
        image_size=image_size,
        classes=classes,
    )
    file = folder / SAVED_MODEL_DESCRIPTION
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")


class _Serving(tf.Module):
    def __init__(
        self, logits: Any, variables: list[Any], classes: list[str], input_spec: InputSpec, labels: Path
    ) -> None:
        super().__init__()
        self._logits, self._input_spec = logits, input_spec
        self._model_variables = [variable.value for variable in variables]  # so that TensorFlow saves them
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
