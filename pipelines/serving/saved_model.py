"""The SavedModel that serves raw images, with the names of the classes in it."""

import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils

from pipelines.console.escapes import one_line
from pipelines.evaluation.inference import logits_of
from pipelines.images.decode import decode_region_of_bytes
from pipelines.images.stream import InputSpec
from pipelines.serving.attempts import attempted
from pipelines.serving.status import DAMAGED, EMPTY, OK, reason
from pipelines.serving.warmup import classify_log, predict_log, write_warmup
from resnet_tf.errors import UserError
from resnet_tf.weights.readers import SAVED_MODEL_DESCRIPTION
from resnet_tf.weights.weight_file import WeightFile, description

# The signatures, and the input of each.
SERVING_DEFAULT, SERVE_BYTES, CLASSIFY = "serving_default", "serve_bytes", "classify"
IMAGES, ENCODED, EXAMPLES = "images", "encoded", "inputs"
FEATURE = "image/encoded"  # the tf.Example's feature that has the bytes, as TensorFlow's own data sets name it
_CLASSIFY_METHOD = "tensorflow/serving/classify"


def save_serving_model(
    model: keras.Model,
    classes: list[str],
    input_spec: InputSpec,
    folder: Path,
    mirror: bool = False,
    temperature: float = 1.0,
) -> None:
    """Writes a SavedModel with the signatures `serving_default`, `serve_bytes` and `classify`; see docs/serving.md.

    The class names are in the SavedModel and in its assets, and requests that warm TensorFlow Serving up are in its
    assets.extra.

    Args:
        model: Model from uint8 images of the view's size to logits.
        classes: Names of the classes, in the order of the logits.
        input_spec: Size and crop of the images.
        folder: Folder to make.
        mirror: Whether the probabilities are averaged over each image and its mirror image.
        temperature: Number that logits are divided by.

    Raises:
        UserError: It cannot be written, because the disk is full or for another reason.
    """
    with tempfile.TemporaryDirectory() as temporary:
        labels = Path(temporary) / "labels.txt"
        labels.write_text("".join(f"{one_line(name)}\n" for name in classes), encoding="utf-8")
        module = _Serving(logits_of(model, mirror, temperature), model.variables, classes, input_spec, labels)
        signatures = {
            SERVING_DEFAULT: module.serve_images,
            SERVE_BYTES: module.serve_bytes,
            CLASSIFY: module.classify,
        }
        try:
            tf.saved_model.save(module, str(folder), signatures=signatures)
        except tf.errors.OpError as error:
            reason = error.message.splitlines()[0].rpartition("; ")[2]  # behind the name of a temporary file
            raise UserError(f"the SavedModel cannot be written: {reason}; nothing written before is lost") from error
    _declare_classifying(folder)
    _warm_up(folder, input_spec.size)


def describe(folder: Path, said: WeightFile, classes: list[str], image_size: int) -> None:
    """Writes the description of the model's file into the SavedModel.

    It says what images must look like, for those who take the weights from the SavedModel. The run's config.json has
    the normalization of the weights that training began with. If these want BGR, it does not suit the model, whose
    first convolution is for RGB.

    Args:
        folder: Folder of the SavedModel.
        said: What the model's file says.
        classes: Names of the classes, in the order of the logits.
        image_size: Side of the images in pixels.
    """
    text = description(
        said.preprocessing,
        said.structure,
        architecture=said.architecture,
        image_size=image_size,
        classes=classes,
    )
    file = folder / SAVED_MODEL_DESCRIPTION
    file.parent.mkdir(exist_ok=True)
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

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name=IMAGES)])
    def serve_images(self, images: Any) -> dict[str, Any]:
        has_pixels = tf.reduce_prod(tf.shape(images)[1:3]) > 0
        shape = tf.concat([tf.shape(images)[:1], self._spec().shape], 0)
        views = tf.cond(
            has_pixels,
            lambda: tf.map_fn(self._input_spec.for_evaluation, images, fn_output_signature=self._spec()),
            lambda: tf.zeros(shape, tf.uint8),
        )
        return self._answer(views, tf.fill(shape[:1], tf.where(has_pixels, OK, EMPTY)))

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name=ENCODED)])
    def serve_bytes(self, encoded: Any) -> dict[str, Any]:
        return self._answer(*self._decoded(encoded))

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES)])
    def classify(self, inputs: Any) -> dict[str, Any]:
        content, _ = attempted(_encoded_in, inputs, "")
        views, status = self._decoded(content)
        answer = self._answer(views, status)
        names = tf.broadcast_to(self._names, tf.shape(answer["probabilities"]))
        return {"classes": names, "scores": answer["probabilities"]}

    def _decoded(self, encoded: Any) -> tuple[Any, Any]:
        """Returns the views of encoded images, and their statuses; a view without an image is black."""
        spec, view = self._spec(), self._input_spec.evaluation_region
        decode = lambda content: decode_region_of_bytes(content, view, self._input_spec.value_range)  # noqa: E731
        views, found = attempted(decode, encoded, tf.zeros(spec.shape, spec.dtype))
        reasons, _ = attempted(reason, tf.boolean_mask(encoded, ~found), DAMAGED)
        status = tf.tensor_scatter_nd_update(tf.fill(tf.shape(encoded), OK), tf.where(~found), reasons)
        return views, status

    def _spec(self) -> tf.TensorSpec:
        return tf.TensorSpec([self._input_spec.size, self._input_spec.size, 3], tf.uint8)

    def _answer(self, images: Any, status: Any) -> dict[str, Any]:
        count, found = tf.shape(images)[0], status == OK
        # TensorFlow's convolutions fail at an empty batch, so that the network sees a black image then.
        never_empty = tf.pad(images, [[0, tf.cast(count == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
        probabilities = tf.nn.softmax(self._logits(never_empty))[:count]
        winners = tf.argmax(probabilities, axis=1)
        return {
            "probabilities": tf.where(found[:, tf.newaxis], probabilities, np.nan),
            "class_index": tf.where(found, winners, -1),
            "class_name": tf.where(found, tf.gather(self._names, winners), ""),
            "status": status,
        }


def _encoded_in(example: Any) -> Any:
    feature = tf.io.FixedLenFeature([], tf.string, default_value="")
    return tf.io.parse_single_example(example, {FEATURE: feature})[FEATURE]


def _warm_up(folder: Path, size: int) -> None:
    """Writes one request for each signature, about a gray picture of the network's size."""
    picture = np.full((size, size, 3), 127, np.uint8)
    content = tf.io.encode_jpeg(picture).numpy()
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))
    example = tf.train.Example(features=tf.train.Features(feature={FEATURE: feature}))
    logs = [
        predict_log(SERVING_DEFAULT, IMAGES, picture[np.newaxis]),
        predict_log(SERVE_BYTES, ENCODED, [content]),
        classify_log(CLASSIFY, [example]),
    ]
    write_warmup(folder, logs)


def _declare_classifying(folder: Path) -> None:
    """Gives the signature `classify` the method of Classify requests; TensorFlow saves each as one of Predict."""
    file = folder / "saved_model.pb"
    content = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for graph in content.meta_graphs:
        graph.signature_def[CLASSIFY].method_name = _CLASSIFY_METHOD
    file.write_bytes(content.SerializeToString(deterministic=True))
    fingerprinting_utils.write_fingerprint(str(folder))
