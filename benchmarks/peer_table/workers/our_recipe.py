"""Our recipe as a user runs it: `resnet-tf finetune`, then `evaluate` with and without mirror images."""

import csv
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from benchmarks.peer_table.workers.exchange import Task, read_task, write_predictions

RUN = "run"


def resnet_tf(*words: object) -> None:
    """Runs a verb of the package in a process of its own, and ends this one if that fails."""
    command = [sys.executable, "-m", "pipelines", *map(str, words)]
    status = subprocess.run(command, check=False, cwd=Path(__file__).resolve().parents[3]).returncode
    if status:
        sys.exit(status)


def predictions_of(task: Task, run: Path) -> list[list[float]]:
    """Returns the probabilities that `evaluate` wrote, in the order of the task's test images."""
    with open(run / "evaluation" / "test" / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    return [[float(rows[row["path"]][f"p:{name}"]) for name in task.classes] for row in task.files("test")]


def main() -> None:
    task = read_task()
    run = Path(task.folder) / RUN
    settings = {"--run": run, "--manifest": task.manifest, "--weights": task.weights, "--arch": task.arch}
    settings |= {"--image-size": task.image_size, "--seed": task.seed}
    resnet_tf("finetune", task.data, *(word for pair in settings.items() for word in pair), *task.options["words"])
    training = task.waited()
    for output, words in (("plain", ()), ("mirror", ("--mirror",))):
        began = time.perf_counter()
        resnet_tf("evaluate", run, *words)
        write_predictions(task, output, predictions_of(task, run), training, time.perf_counter() - began)


if __name__ == "__main__":
    main()
