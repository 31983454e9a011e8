"""The run directory: the names of its files, and checks of what is in it."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from pipelines.runs.files import read_json, try_place
from pipelines.runs.temporaries import WRITING
from resnet_tf.errors import UserError


@dataclass(frozen=True)
class Run:
    """The names of all files of one run. The class itself creates and reads no file.

    Args:
        path: Directory of the run.
        writable: Whether this process may write there; among several workers only the chief may.
    """

    path: Path
    writable: bool = True

    @property
    def name(self) -> str:
        """Its folder's name; the training on all images in insects/all is called "insects-all"."""
        folder = self.path.resolve()
        inside = folder.name == "all" and Run(folder.parent).config.is_file()
        return f"{folder.parent.name}-all" if inside else folder.name

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def classes(self) -> Path:
        return self.path / "classes.json"

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.csv"

    @property
    def history(self) -> Path:
        return self.path / "history.csv"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    @property
    def lock(self) -> Path:
        return self.path / ".lock"

    @property
    def model(self) -> Path:
        return self.path / "model.keras"

    @property
    def calibration(self) -> Path:
        """What the run knows of its own certainty, see `pipelines.evaluation.run_calibration`."""
        return self.path / "calibration.json"

    @property
    def saved_model(self) -> Path:
        return self.path / "export" / "saved_model" / "1"

    @property
    def export_report(self) -> Path:
        return self.path / "export" / "export.json"

    @property
    def all(self) -> "Run":
        """The run of a second training, on all labelled images."""
        return Run(self.path / "all", self.writable)

    @property
    def chosen_by(self) -> Path:
        """The figures of the run that chose a training on all images, in the latter's directory."""
        return self.path / "chosen_by.json"

    @property
    def of_model(self) -> tuple[Path, ...]:
        """The files of a finished run that are needed to use its model."""
        return self.config, self.classes, self.manifest, self.model

    def evaluation(self, split: str) -> Path:
        return self.path / "evaluation" / split


def check_writable(run: Run) -> None:
    """Checks that a run's directory can be written, before anything is computed; it leaves no file behind.

    Raises:
        UserError: Nothing can be written there.
    """
    try_place(run.path, f"the run {str(run.path)!r}")


def foreign_files(run: Run, *own: Path) -> list[str]:
    """Returns the names of the files that do not belong to a run, in the directory of a run without config.json.

    Args:
        run: Run whose directory need not exist.
        own: Files that a killed process may have written; the lock and half-written files always count as such.
    """
    names = [file.name for file in run.path.iterdir()] if run.path.exists() else []
    known = {file.name for file in (*own, run.lock)}
    return [name for name in names if name not in known and not name.startswith(WRITING)]


def finished_run(path: str | Path) -> Run:
    """Returns a run that has a model.

    Raises:
        UserError: There is no such directory, or there is no model in it yet.
    """
    run = Run(Path(path))
    if not run.path.is_dir():
        command = f"resnet-tf finetune DATA --run {quote(str(path))}"
        raise UserError(f"there is no run directory {str(path)!r}; `{command}` makes one")
    for file in run.of_model:
        if not file.is_file():
            raise UserError(f"the run {str(path)!r} has no {file.name}; finish it with `resnet-tf finetune` first")
    return run


def read_config(path: Path) -> dict[str, Any]:
    """Reads the config.json of a run.

    Raises:
        UserError: It cannot be read, or it lacks what every run has: its arguments.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("arguments"), dict):
        raise UserError(f"{str(path)!r} is no config.json of a run: it has no 'arguments'")
    return content


def load_classes(run: Run) -> list[str]:
    """Reads the class names of a run, in the order of every matrix and column.

    Raises:
        UserError: The file cannot be read, or is no list of different names.
    """
    classes = read_json(run.classes)
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise UserError(f"{str(run.classes)!r} is no list of class names")
    twice = sorted(name for name, times in Counter(classes).items() if times > 1)
    if twice:
        raise UserError(f"{str(run.classes)!r} names the class {twice[0]!r} twice")
    return classes


def load_model(run: Run) -> Any:
    """Loads the best model of a run, a `keras.Model` from uint8 images to logits."""
    from resnet_tf import saved  # not before it is needed, since it imports Keras

    return saved.load_model(run.model)
