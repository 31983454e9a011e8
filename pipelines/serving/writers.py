"""Writes a run's network in any format, each converter in a process of its own."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import keras

from pipelines.config.formats import INT8, Target
from pipelines.console.terminal import say
from pipelines.images.stream import InputSpec
from pipelines.runs.directory import Run
from pipelines.serving.fold import plain_network
from pipelines.serving.photos import Photos, save_calibration
from pipelines.serving.plain_keras import keras_network
from pipelines.serving.plain_network import PlainNetwork, View
from pipelines.serving.processes import run_module
from pipelines.serving.saved_model import describe, save_serving_model
from pipelines.serving.web import MODEL, write_web
from pipelines.serving.web_runtime import Runtime

_CONVERTERS = {
    "onnx": "pipelines.serving.onnx_file",
    "openvino": "pipelines.serving.openvino_model",
    "litert": "pipelines.serving.litert_file",
    "keras": "pipelines.serving.keras_file",
}


@dataclass(frozen=True)
class Exported:
    """A run's model with all that an export needs of it.

    Args:
        run: The run.
        model: Its model, from uint8 images to logits.
        classes: Names of its classes, in the order of the logits.
        spec: What the network sees of a picture.
        temperature: Number that logits are divided by.
        mirror: Whether the probabilities are averaged over each image and its mirror image.
    """

    run: Run
    model: keras.Model
    classes: list[str]
    spec: InputSpec
    temperature: float
    mirror: bool

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
        describe(folder, self.run, self.classes, self.spec.size)


class Converters:
    """Writes exports from one plain network and one set of photos, which they share.

    Args:
        exported: The model.
        calibration: Photos for int8, or None where no export needs them.
        work: Folder for what passes between processes.
        runtime: ONNX Runtime for browsers, or None where no export needs it.
    """

    def __init__(
        self, exported: Exported, calibration: Photos | None, work: Path, runtime: Runtime | None = None
    ) -> None:
        self._exported, self.work, self._runtime = exported, work, runtime
        self._photos = None if calibration is None else save_calibration(calibration, work)

    @cached_property
    def _network(self) -> Path:
        folder = self.work / "network"
        folder.mkdir()
        self._exported.network.save(folder)
        return folder

    def write(self, target: Target, path: Path) -> None:
        """Writes an export to a path in an existing folder.

        Raises:
            UserError: The converter fails.
        """
        if target.format == "saved_model":
            self._exported.save_saved_model(path, target.precision)
            return
        if target.format == "web":
            self._write_web(target, path)
            return
        arguments = [str(self._network), str(path), target.precision]
        if target.precision == INT8:
            assert self._photos is not None
            whole, seen = self._photos
            arguments.append(str(whole if target.kind.any_size else seen))
        run_module(_CONVERTERS[target.format], *arguments, what=f"the converter of {target}")

    def _write_web(self, target: Target, folder: Path) -> None:
        assert self._runtime is not None
        folder.mkdir()
        arguments = [str(self._network), str(folder / MODEL), target.precision]
        run_module(_CONVERTERS["onnx"], *arguments, what=f"the converter of {target}")
        say("the network of the page is measured with ONNX Runtime on this machine; in a browser it is slower")
        write_web(self._exported.run, self._exported.network, self._runtime, folder)
