"""Trains several networks on one device in a given time, with the same number of steps for all.

    KERAS_BACKEND=jax python -m pipelines.experiments.side_by_side --data cifar10.zip --out DIR --seconds 350

Each network has a process of its own, since one network's small kernels do not fill a GPU. Once all have been compiled,
each is measured by itself and all are measured together. The number of steps follows from this and from the time that
is left, and is at most the paper's. results.csv grows while they train, so that it holds what there is at any moment.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import numpy as np

from pipelines.experiments.cifar10 import read_cifar10
from pipelines.experiments.networks import find_network
from pipelines.experiments.recipe import PAPER_STEPS, Recipe
from pipelines.experiments.results import write_rows
from pipelines.runs.files import write_json

ROOT = Path(__file__).resolve().parents[2]
SHARE = 0.88  # of the time left that is planned with: judging and saving need some, and a guess is one
SAVING = 6.0  # seconds at the end that no training may use


class Worker:
    """The process of one network.

    Args:
        name: Name of the network.
        task: What `worker.main` takes.
        answers: Queue that all answers come into, with this worker; None is the last one.
    """

    def __init__(self, name: str, task: dict[str, Any], answers: "Queue[tuple[Worker, Any]]") -> None:
        self.name = name
        environment = {"KERAS_BACKEND": "jax", "XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.experiments.worker", json.dumps(task)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._listen, args=(answers,), daemon=True).start()

    def _listen(self, answers: "Queue[tuple[Worker, Any]]") -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            answers.put((self, json.loads(line)))
        answers.put((self, None))

    def order(self, do: str, **details: Any) -> None:
        """Sends an order; a worker that has ended does not get it."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **details}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass


class SideBySide:
    """All workers of an experiment, and what they answered.

    Args:
        tasks: What `worker.main` takes, by the network's name.
        began: Moment from which the time is counted, of `time.monotonic`.
    """

    def __init__(self, tasks: dict[str, dict[str, Any]], began: float) -> None:
        self.began = began
        self.answers: Queue[tuple[Worker, Any]] = Queue()
        self.alive = [Worker(name, task, self.answers) for name, task in tasks.items()]

    def say(self, text: str) -> None:
        """Prints a line with the seconds since the start."""
        print(f"{time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    def order(self, do: str, **details: Any) -> None:
        """Sends an order to all workers."""
        for worker in self.alive:
            worker.order(do, **details)

    def hear(self, timeout: float | None = None) -> tuple[Worker, Any] | None:
        """Returns the next answer, or None if there is none in so many seconds or if its worker has ended."""
        try:
            worker, answer = self.answers.get(timeout=timeout)
        except Empty:
            return None
        if answer is None:
            self.alive.remove(worker)
            self.say(f"{worker.name} has ended with exit code {worker.process.wait()}")
            return None
        return worker, answer

    def hear_all(self) -> dict[str, Any]:
        """Returns one answer of each worker by its name."""
        heard: dict[str, Any] = {}
        while any(worker.name not in heard for worker in self.alive):
            if (found := self.hear()) is not None:
                heard[found[0].name] = found[1]
        return heard

    def close(self) -> None:
        """Ends all workers."""
        for worker in self.alive:
            worker.process.kill()


def main() -> None:
    began = time.monotonic()
    arguments = _parse()
    arguments.out.mkdir(parents=True, exist_ok=True)
    cost: dict[str, Any] = {"command": f"python -m pipelines.experiments.side_by_side {shlex.join(sys.argv[1:])}"}
    with tempfile.TemporaryDirectory() as folder:
        tasks = {name: task_of(name, arguments, folder) for name in arguments.networks}
        group = SideBySide(tasks, began)
        try:
            for split, images in zip(("train", "test"), read_cifar10(arguments.data), strict=True):
                images = images.first(arguments.images)
                np.save(Path(folder, f"{split}_pixels.npy"), images.pixels)
                np.save(Path(folder, f"{split}_labels.npy"), images.labels)
            group.say("the images are read")
            group.order("data")
            for name, answer in group.hear_all().items():
                cost["device"] = f"{answer['device']}, {arguments.precision}"
                group.say(f"{name} was compiled in {answer['compiled_in']:.1f} s on {answer['device']}")
            end = began + arguments.seconds - SAVING
            epochs, steps, together = plan(group, arguments.seeds, end - time.monotonic())
            group.say(
                f"{epochs * steps} steps for each of {arguments.seeds} seeds, {'together' if together else 'in turn'}"
            )
            turns = None if together else str(Path(folder, "turn"))
            group.order("train", epochs=epochs, until=time.time() + end - time.monotonic(), turns=turns)
            follow(group, arguments.out / "results.csv")
        finally:
            group.close()
    write_json(arguments.out / "cost.json", {**cost, "seconds": time.monotonic() - began})
    group.say("done")


def task_of(name: str, arguments: argparse.Namespace, images: str) -> dict[str, Any]:
    """Returns what the worker of a network takes."""
    warm_up = 400 if find_network(name).depth >= 110 else 0  # He et al. 2015, section 4.2
    return {
        "network": name,
        "seeds": list(range(arguments.seeds)),
        "precision": arguments.precision,
        "recipe": asdict(Recipe(batch_size=arguments.batch_size, warm_up=warm_up)),
        "images": images,
        "out": str(arguments.out.resolve()),
    }


def plan(group: SideBySide, seeds: int, left: float) -> tuple[int, int, bool]:
    """Returns the number of epochs that the time is enough for, the steps of one, and whether all train at once.

    Args:
        group: The workers, which are compiled.
        seeds: Number of trainings of each network.
        left: Seconds until all must be trained.
    """
    began, alone = time.monotonic(), {}
    for worker in list(group.alive):
        worker.order("measure", seconds=left / 300)
        while (found := group.hear()) is None and worker in group.alive:
            pass
        if found is not None:
            answer = found[1]
            alone[worker.name] = answer["seconds"] / answer["epochs"]
            group.say(f"{worker.name} alone: {answer['epochs'] * answer['steps'] / answer['seconds']:.1f} steps/s")
    group.order("measure", seconds=left / 80)
    answers = group.hear_all()
    gain = sum(answer["epochs"] * alone[name] / answer["seconds"] for name, answer in answers.items())
    group.say(f"all at once do {gain:.2f} times as much as in turn")
    left -= time.monotonic() - began
    steps = next(iter(answers.values()))["steps"]
    affordable = SHARE * left * max(gain, 1.0) / (seeds * sum(alone.values()))
    return max(4, min(int(affordable), PAPER_STEPS // steps)), steps, gain > 1.0


def follow(group: SideBySide, path: Path) -> None:
    """Writes what the workers report to a CSV until all are done, at most every five seconds."""
    rows: list[dict[str, Any]] = []
    done: set[str] = set()
    written = said = 0.0
    while any(worker.name not in done for worker in group.alive):
        if (found := group.hear(timeout=5.0)) is not None:
            worker, answer = found
            if "row" in answer:
                rows.append(answer["row"])
            else:
                done.add(worker.name)
                group.say(f"{worker.name} is done")
        if rows and time.monotonic() - written > 5.0:
            write_rows(path, rows, "seconds")
            written = time.monotonic()
        if rows and time.monotonic() - said > 15.0:
            last = {row["network"]: row for row in rows}.values()
            group.say(", ".join(f"{row['network']} {row['iteration']} {row['training_error']:.3f}" for row in last))
            said = time.monotonic()
    write_rows(path, rows, "seconds")
    for row in rows:
        if "training_error_at_rest" in row:
            group.say(
                f"{row['network']} seed {row['seed']} after {row['iteration']} steps: training error "
                f"{row['training_error']:.4f}, without augmentation {row['training_error_at_rest']:.4f}, "
                f"test error {row['test_error']:.4f}"
            )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="zip of CIFAR-10")
    parser.add_argument("--out", type=Path, required=True, help="folder for results.csv and the weights")
    parser.add_argument("--seconds", type=float, default=350.0, help="time for all of it")
    parser.add_argument("--networks", nargs="+", default=["plain20", "plain56", "resnet20", "resnet56"])
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each network")
    parser.add_argument("--precision", choices=("bfloat16", "tf32", "float32"), default="bfloat16")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--images", type=int, help="number of images of each split to take, for a trial")
    return parser.parse_args()


if __name__ == "__main__":
    main()
