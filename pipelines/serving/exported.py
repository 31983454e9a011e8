"""What an export is made of: a run's model and all that is said of it, read at one time."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import keras

from pipelines.evaluation.integrity import load_network
from pipelines.evaluation.predictions import input_spec_of
from pipelines.evaluation.run_calibration import RunCalibration, load_calibration
from pipelines.images.stream import InputSpec
from pipelines.runs.directory import Run
from pipelines.runs.files import sha256
from pipelines.runs.state import state_of
from pipelines.serving.fold import plain_network
from pipelines.serving.plain_keras import keras_network
from pipelines.serving.plain_network import PlainNetwork, View
from pipelines.serving.saved_model import describe, save_serving_model
from resnet_tf.errors import UserError
from resnet_tf.weights.readers import said_by_keras_file
from resnet_tf.weights.weight_file import WeightFile


@dataclass(frozen=True)
class ModelFile:
    """The file of a run's model.

    Args:
        sha256: Its hash.
        finished: Whether the run was finished when it was read; None if nothing says it.
        said: Its description, without tensors.
    """

    sha256: str
    finished: bool | None
    said: WeightFile


@dataclass(frozen=True)
class Exported:
    """A run's model with all that an export needs of it.

    Args:
        run: The run, which may be trained meanwhile.
        file: Its model's file, as it was when the model was read.
        model: The model, from uint8 images to logits.
        classes: Names of its classes, in the order of the logits.
        spec: What the network sees of a picture.
        calibration: The calibration of the model, or None.
        mirror: Whether the probabilities are averaged over each image and its mirror image.
    """

    run: Run
    file: ModelFile
    model: keras.Model
    classes: list[str]
    spec: InputSpec
    calibration: RunCalibration | None
    mirror: bool

    @property
    def temperature(self) -> float:
        """Number that logits are divided by."""
        return 1.0 if self.calibration is None else self.calibration.temperature

    @cached_property
    def network(self) -> PlainNetwork:
        """The model as a plain network."""
        view = View(self.spec.size, self.spec.view, self.spec.crop_fraction, self.spec.interpolation)
        return plain_network(self.model, self.classes, view, self.temperature, self.mirror)

    def save_saved_model(self, folder: Path, precision: str = "float32") -> None:
        """Writes a SavedModel that serves the model.

        Args:
            folder: Folder to make.
            precision: "float32", or "bfloat16" for a network that computes in it, with its batch norms folded.
        """
        model, temperature = self.model, self.temperature
        if precision != "float32":
            model, temperature = keras_network(self.network, precision), 1.0  # its last layer has the temperature
        save_serving_model(model, self.classes, self.spec, folder, self.mirror, temperature)
        describe(folder, self.file.said, self.classes, self.spec.size)


def load_exported(run: Run, mirror: bool) -> Exported:
    """Reads the best model of a run.

    Args:
        run: Run that has a model.
        mirror: Whether its probabilities are averaged over each image and its mirror image.

    Raises:
        UserError: A file is damaged, or a training has replaced the model meanwhile.
    """
    finished = state_of(run).finished
    digest = sha256(run.model) if run.model.is_file() else ""
    model, classes = load_network(run)
    said = said_by_keras_file(run.model)
    assert said is not None, run.model  # every version has written a description
    if sha256(run.model) != digest:
        raise UserError(f"a training has replaced {str(run.model)!r} while it was read; export it again")
    calibration = load_calibration(run)  # only if it is of the file that is there
    return Exported(run, ModelFile(digest, finished, said), model, classes, input_spec_of(run), calibration, mirror)
