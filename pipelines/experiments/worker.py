"""Trains one network in a process of its own, as the process that started it says; see `side_by_side`.

Both speak in lines of JSON: orders come on the standard input, answers and results go to the standard output.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.experiments.cifar10 import Images
from pipelines.experiments.judging import row_of
from pipelines.experiments.networks import find_network
from pipelines.experiments.recipe import Recipe
from pipelines.experiments.weights import weights_of, write_moments

POLICIES = {"bfloat16": "mixed_bfloat16", "tf32": "float32", "float32": "float32"}
PRECISIONS = {"bfloat16": "default", "tf32": "tensorfloat32", "float32": "highest"}


def main(task: dict[str, Any]) -> None:
    """Builds and compiles the network, and follows orders until the input ends.

    Args:
        task: The network's name, its seeds, the precision, the recipe, and the folders of the images and the results.
    """
    import jax
    import keras

    keras.config.set_dtype_policy(POLICIES[task["precision"]])
    jax.config.update("jax_default_matmul_precision", PRECISIONS[task["precision"]])
    from pipelines.experiments.on_jax import Trainer

    network = find_network(task["network"])
    starts = {}
    for seed in task["seeds"]:
        keras.utils.set_random_seed(seed)
        model = network.build()
        starts[seed] = [np.asarray(v.value) for v in model.variables]
    _wait_for("data")
    train, test = (
        Images(*(np.load(Path(task["images"], f"{split}_{part}.npy")) for part in ("pixels", "labels")))
        for split in ("train", "test")
    )
    trainer = Trainer(model, train, test, Recipe(**task["recipe"]))
    began = time.monotonic()
    _measure(trainer, 0.0)
    trainer.errors(trainer.start(), True)
    _tell(ready=True, compiled_in=time.monotonic() - began, device=jax.devices()[0].device_kind)
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "measure":
            epochs, seconds = _measure(trainer, order["seconds"])
            _tell(epochs=epochs, seconds=seconds, steps=trainer.steps)
        elif order["do"] == "train":
            _train(trainer, starts, order, task)
            _tell(done=True)


def _measure(trainer: Any, seconds: float) -> tuple[int, float]:
    """Returns how many epochs ran in about so many seconds, at least one, and in how many exactly."""
    state, epochs, began = trainer.start(), 0, time.monotonic()
    while not epochs or time.monotonic() - began < seconds:
        state, loss, _ = trainer.epoch(state, 0, epochs, 2**20)
        float(loss)
        epochs += 1
    return epochs, time.monotonic() - began


def _train(trainer: Any, starts: dict[int, list[np.ndarray]], order: dict[str, Any], task: dict[str, Any]) -> None:
    """Trains from all seeds, an epoch of each in turn, so that all are as far if time runs out.

    Args:
        trainer: Trainer of the network.
        starts: Values of the network's variables before the first step, by seed.
        order: Number of epochs, the moment to stop at, and whether only one process trains at a time.
        task: What `main` was called with.
    """
    states, kept = {}, {}
    first = min(starts)  # one training's weights are enough for what is drawn from weights
    for seed, values in starts.items():
        for variable, value in zip(trainer.network.variables, values, strict=True):
            variable.assign(value)
        states[seed] = trainer.start()
    kept["start"] = weights_of(trainer.network, (*states[first][0], *states[first][1]))
    epochs, total = order["epochs"], order["epochs"] * trainer.steps
    began = time.time()
    for number in range(epochs):
        with _Turn(order["turns"]):
            results = []
            for seed in states:
                states[seed], loss, error = trainer.epoch(states[seed], seed, number, total)
                results.append((seed, loss, error))
            done = number + 1
            results[-1][1].block_until_ready()
            last = done == epochs or time.time() > order["until"]
            for seed, loss, error in results:
                seconds, means = time.time() - began, (float(loss), float(error))
                training = task["network"], seed
                row = row_of(trainer, states[seed], training, done=done, epochs=epochs, means=means, last=last)
                _tell(row={**row, "seconds": seconds})
        if last or done in (1, epochs // 2):
            reached = (*states[first][0], *states[first][1])
            kept["end" if last else str(row["iteration"])] = weights_of(trainer.network, reached)
            write_moments(Path(task["out"], f"{task['network']}.npz"), kept)
        if last:
            break


class _Turn:
    """Waits until no other process is in its turn, if turns are taken at all.

    Args:
        path: File that says whose turn it is by a lock, or None.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path

    def __enter__(self) -> None:
        if self.path is not None:
            import fcntl

            self.file = os.open(self.path, os.O_RDWR | os.O_CREAT)
            fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        if self.path is not None:
            os.close(self.file)


def _wait_for(order: str) -> None:
    for line in sys.stdin:
        if json.loads(line)["do"] == order:
            return
    raise SystemExit("the process that started this one has ended")


def _tell(**answer: Any) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
