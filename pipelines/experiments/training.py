"""Trains the networks of an experiment one after the other, so that a killed experiment goes on where it was.

The state of each training is one file, written whole after an epoch, with its random numbers following from seed and
epoch. A resumed training therefore ends at the same numbers as one that was never stopped.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipelines.console.terminal import say
from pipelines.experiments.cifar10 import Images
from pipelines.experiments.device import on_accelerator
from pipelines.experiments.judging import TESTS, row_of
from pipelines.experiments.networks import find_network
from pipelines.experiments.recipe import Recipe
from pipelines.experiments.weights import Weights, read_moments, weights_of, write_moments
from pipelines.runs.files import write_atomically
from resnet_tf.errors import UserError

SAVED_EVERY = 30.0  # seconds; a killed experiment loses as much
_STATE = ("trainable", "others", "velocity")


@dataclass
class Progress:
    """How far one training is.

    Args:
        epochs: Number of epochs that are done.
        rows: What was measured after each of them.
        seconds: Time that they took.
        state: State of the trainer; None before the first epoch.
    """

    epochs: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    state: tuple[list[Any], list[Any], list[Any]] | None = None


@dataclass
class Trainings:
    """All trainings of an experiment.

    Args:
        folder: Folder of the experiment.
        networks: Short names of the networks.
        seeds: Number of trainings of each.
        iterations: Steps that each takes, rounded to whole epochs.
        batch_size: Images in a step.
        images: Images for training and for the test.
        seconds_by_step: Time of a step of each network, where it was measured.
    """

    folder: Path
    networks: tuple[str, ...]
    seeds: int
    iterations: int
    batch_size: int
    images: tuple[Images, Images]
    seconds_by_step: dict[str, float] = field(default_factory=dict, init=False)
    _seconds_by_test: dict[str, float] = field(default_factory=dict, init=False, repr=False)
    _trainers: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.images[0].labels) < self.batch_size:
            raise UserError(f"{len(self.images[0].labels)} images fill no step of {self.batch_size}; take more")

    @property
    def steps(self) -> int:
        """Number of steps in an epoch."""
        return len(self.images[0].labels) // self.batch_size

    @property
    def epochs(self) -> int:
        return max(1, round(self.iterations / self.steps))

    def each(self) -> Iterator[tuple[str, int]]:
        """Yields network and seed of every training: all networks from one start, then from the next."""
        for seed in range(self.seeds):
            for name in self.networks:
                yield name, seed

    def seconds_left(self) -> dict[str, float]:
        """Predicts the time of what is not trained yet, by the network's name.

        A step and the judging of the test images are measured, and multiplied by what is planned.
        """
        left = dict.fromkeys(self.networks, 0.0)
        for name, seed in self.each():
            share = 1.0 - self._read(name, seed).epochs / self.epochs
            if share:
                left[name] += share * self._seconds_of_training(name)
        return {name: seconds for name, seconds in left.items() if seconds}

    def _seconds_of_training(self, name: str) -> float:
        trainer = self.trainer(name)
        if name not in self.seconds_by_step:
            self.seconds_by_step[name] = trainer.seconds_per_step()
            trainer.errors(trainer.start(), True)  # traces or compiles it
            began = time.monotonic()
            trainer.errors(trainer.start(), True)
            self._seconds_by_test[name] = time.monotonic() - began
        judged = self.epochs // max(1, self.epochs // TESTS) + len(self.images[0].labels) / len(self.images[1].labels)
        return self.epochs * self.steps * self.seconds_by_step[name] + judged * self._seconds_by_test[name]

    def trainer(self, name: str) -> Any:
        """Returns the trainer of a network on Keras's backend, TensorFlow or JAX; a GPU gets bfloat16 from JAX."""
        if name not in self._trainers:
            policy = keras.config.dtype_policy()
            keras.config.set_dtype_policy("mixed_bfloat16" if on_accelerator() else "float32")
            self._trainers[name] = make_trainer(name, self.images, self.batch_size)
            keras.config.set_dtype_policy(policy)
        return self._trainers[name]

    def run(self) -> Iterator[list[dict[str, Any]]]:
        """Trains what is not trained yet, and yields the rows of all trainings after each epoch."""
        finished: list[dict[str, Any]] = []
        for name, seed in self.each():
            progress = self._read(name, seed)
            while progress.epochs < self.epochs:
                self._epochs(name, seed, progress)
                yield finished + progress.rows
            finished += progress.rows
            last = progress.rows[-1]
            say(
                f"{name}, seed {seed}: training error {last['training_error']:.4f}, "
                f"test error {last['test_error']:.4f}, {progress.seconds:.0f} s"
            )
        yield finished

    def seconds(self) -> dict[str, float]:
        """Returns the time that the trainings of each network have taken."""
        spent = dict.fromkeys(self.networks, 0.0)
        for name, seed in self.each():
            spent[name] += self._read(name, seed).seconds
        return spent

    def _epochs(self, name: str, seed: int, progress: Progress) -> None:
        """Trains until it is time to save, and saves."""
        trainer = self.trainer(name)
        state = progress.state or start_of(name, trainer, seed)
        if not progress.epochs and seed == 0:
            self._keep(name, "start", state)
        saved, total = time.monotonic(), self.epochs * self.steps
        while True:
            began = time.monotonic()
            state, loss, error = trainer.epoch(state, seed, progress.epochs, total)
            progress.epochs += 1
            means, last = (float(loss), float(error)), progress.epochs == self.epochs
            row = row_of(trainer, state, (name, seed), done=progress.epochs, epochs=self.epochs, means=means, last=last)
            progress.rows.append(row)
            progress.seconds += time.monotonic() - began
            if seed == 0 and progress.epochs in (1, self.epochs // 2, self.epochs):
                done = progress.epochs
                self._keep(name, "end" if done == self.epochs else str(done * self.steps), state)
            if progress.epochs == self.epochs or time.monotonic() - saved >= SAVED_EVERY:
                break
        progress.state = state
        self._write(name, seed, progress)

    def _keep(self, name: str, moment: str, state: Any) -> None:
        """Adds the weights of the first training to the network's file; one training's are enough to measure."""
        path = self.folder / f"{name}.npz"
        kept: dict[str, Weights] = read_moments(path) if path.exists() and moment != "start" else {}
        kept[moment] = weights_of(self.trainer(name).network, (*state[0], *state[1]))
        write_moments(path, kept)

    def _path(self, name: str, seed: int) -> Path:
        return self.folder / "trainings" / f"{name}-{seed}.npz"

    def _read(self, name: str, seed: int) -> Progress:
        path = self._path(name, seed)
        if not path.exists():
            return Progress()
        with np.load(path, allow_pickle=False) as file:
            known = json.loads(str(file["progress"]))
            groups = [[file[key] for key in file.files if key.startswith(f"{part}/")] for part in _STATE]
        trainable, others, velocity = groups
        return Progress(**known, state=(trainable, others, velocity))

    def _write(self, name: str, seed: int, progress: Progress) -> None:
        assert progress.state is not None
        known = {"epochs": progress.epochs, "rows": progress.rows, "seconds": progress.seconds}
        arrays = {
            f"{part}/{number:04d}": np.asarray(value)
            for part, values in zip(_STATE, progress.state, strict=True)
            for number, value in enumerate(values)
        }
        text = json.dumps(known)
        path = self._path(name, seed)
        write_atomically(path, lambda partial: np.savez(partial, progress=np.array(text), **arrays))  # type: ignore[arg-type]


def make_trainer(name: str, images: tuple[Images, Images], batch_size: int = 128) -> Any:
    """Returns the trainer of a network on Keras's backend.

    Args:
        name: Short name of the network.
        images: Images for training and for the test.
        batch_size: Images in a step.

    Raises:
        UserError: Keras's backend is neither TensorFlow nor JAX.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        from pipelines.experiments.on_jax import Trainer
    elif backend == "tensorflow":
        from pipelines.experiments.on_tensorflow import Trainer  # type: ignore[assignment]
    else:
        raise UserError(f"Keras's backend is {backend}; the experiments run on tensorflow or jax")
    network = find_network(name)
    keras.utils.set_random_seed(0)
    warm_up = 400 if network.depth >= 110 else 0  # He et al. 2015, section 4.2
    return Trainer(network.build(), *images, Recipe(batch_size=batch_size, warm_up=warm_up))


def start_of(name: str, trainer: Any, seed: int) -> Any:
    """Returns the state of a network's trainer before the first step, with random weights that follow from the seed."""
    keras.utils.set_random_seed(seed)
    for variable, fresh in zip(trainer.network.variables, find_network(name).build().variables, strict=True):
        variable.assign(fresh.value)
    return trainer.start()
