"""What a training of a peer is told and what it must answer, with nothing but Python's own library.

The trainings run in environments that have no TensorFlow and no package of this repository. A training is started with
the path of its task.json. It writes, to the same folder, one CSV per output with the columns path, label and one
"p:CLASS" per class, and clock.json with the seconds of training and of prediction of each output.
"""

import csv
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TASK, CLOCK = "task.json", "clock.json"


@dataclass(frozen=True)
class Task:
    """One training: images, network, weights and what is particular to the method.

    Args:
        folder: Folder for everything that the training writes.
        data: Folder or CSV of the images, as `resnet-tf finetune` takes it.
        manifest: Path of the manifest with the fold's split.
        images: Folder with train/, val/ and test/, in which each class has a folder of links to its images.
        listing: Path of a CSV of the same links: file, path, label, split.
        weights: Path of the weights, a safetensors file in torchvision's names.
        arch: Name of the architecture, in our names and in torchvision's.
        image_size: Height and width of the network's input, in pixels.
        seed: Seed of everything that is random.
        classes: Names of the classes in the order of the columns.
        options: Settings of the method.
        started: Time at which the user began to wait, in seconds since 1970.
    """

    folder: str
    data: str
    manifest: str
    images: str
    listing: str
    weights: str
    arch: str
    image_size: int
    seed: int
    classes: list[str]
    options: dict[str, Any]
    started: float

    def write(self) -> Path:
        """Writes the task to its folder, and returns the path of the file."""
        path = Path(self.folder) / TASK
        path.write_text(json.dumps(vars(self), indent=1))
        return path

    def files(self, split: str) -> list[dict[str, str]]:
        """Returns the rows of a split: file, path, label, split."""
        with open(self.listing, newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if row["split"] == split]

    def waited(self) -> float:
        """Returns the seconds since the user began to wait."""
        return time.time() - self.started


def read_task() -> Task:
    """Returns the task that the command line of this process names."""
    return Task(**json.loads(Path(sys.argv[1]).read_text()))


def write_predictions(
    task: Task, output: str, probabilities: Iterable[Sequence[float]], training: float, prediction: float
) -> None:
    """Writes the probabilities of the test images, and the seconds that they took.

    Args:
        task: The task.
        output: Name of the output, one of those that the method has.
        probabilities: Probabilities of the classes, in the order of `task.files("test")`.
        training: Seconds from the user's start to a trained model, without looks at the test images.
        prediction: Seconds of prediction.
    """
    folder = Path(task.folder)
    with open(folder / f"{output}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", *(f"p:{name}" for name in task.classes)])
        for row, values in zip(task.files("test"), probabilities, strict=True):
            writer.writerow([row["path"], row["label"], *(f"{float(value):.9g}" for value in values)])
    clock = folder / CLOCK
    known = json.loads(clock.read_text()) if clock.exists() else {}
    clock.write_text(json.dumps({**known, output: {"training": training, "prediction": prediction}}))
