"""Writes a run's network in any format, each converter in a process of its own."""

from functools import cached_property
from pathlib import Path

from pipelines.config.formats import INT8, Target
from pipelines.console.terminal import say
from pipelines.serving.exported import Exported
from pipelines.serving.photos import Photos, save_calibration
from pipelines.serving.processes import run_module
from pipelines.serving.web import MODEL, write_web
from pipelines.serving.web_runtime import Runtime

_CONVERTERS = {
    "onnx": "pipelines.serving.onnx_file",
    "openvino": "pipelines.serving.openvino_model",
    "litert": "pipelines.serving.litert_file",
    "keras": "pipelines.serving.keras_file",
}


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
        network, folder = self._exported.network, self.work / "network"
        folder.mkdir()
        network.save(folder)
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
        run_module(_CONVERTERS[target.format], *arguments, what="its converter")

    def _write_web(self, target: Target, folder: Path) -> None:
        assert self._runtime is not None
        folder.mkdir()
        arguments = [str(self._network), str(folder / MODEL), target.precision]
        run_module(_CONVERTERS["onnx"], *arguments, what="its converter")
        say("the network of the page is measured with ONNX Runtime on this machine; in a browser it is slower")
        write_web(self._exported, self._runtime, folder)
