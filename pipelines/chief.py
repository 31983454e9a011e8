"""What the chief of several workers reads and decides for all of them, so that all do the same.

The run directory is the chief's alone: the others need not see it. The weights are read by each, at the path that its
own command names, and so are the images; where `evaluate` names none, and of `predict`, at the chief's paths.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from pipelines.config.finetune import FinetuneConfig
from pipelines.data.manifest import load_manifest
from pipelines.recipe.earlier import Earlier
from pipelines.runs.directory import Run, fingerprint_of, finished_run
from pipelines.training.checkpoint import Checkpoint, load_checkpoint, with_progress, without_progress
from pipelines.training.head import Head
from resnet_tf.errors import UserError
from resnet_tf.weights import WeightFile
from resnet_tf.workers import Workers

# Where things lie may differ from machine to machine.
_OWN_SETTINGS = ("data", "weights", "manifest")


def checkpoint_for_all(run: Run, workers: Workers) -> Checkpoint | None:
    """The chief's newest checkpoint that is whole, None where the run has none. Collective.

    Raises:
        UserError: All are damaged.
    """
    if workers.alone:
        return load_checkpoint(run)

    def read() -> dict[str, np.ndarray]:
        checkpoint = load_checkpoint(run)
        return with_progress(checkpoint.arrays, checkpoint.progress) if checkpoint else {}

    arrays = workers.arrays_from_chief(read)
    return without_progress(run.checkpoints, arrays) if arrays else None


def earlier_for_all(workers: Workers, find: Callable[[], Earlier | None]) -> Earlier | None:
    """The run whose decisions the chief repeats, None where there is none. Collective.

    Args:
        workers: All of them.
        find: Reads the decisions of the run that is continued, or has those of `--config`.

    Raises:
        UserError: The run's config.json is damaged.
    """

    def found() -> dict[str, Any] | None:
        earlier = find()
        return asdict(earlier) if earlier else None

    content = workers.from_chief(found)
    return Earlier(**content) if content else None


def weights_for_all(
    config: FinetuneConfig, workers: Workers, find: Callable[[], WeightFile | None]
) -> WeightFile | None:
    """The file of weights, None for training from scratch. The chief finds it first, so that machines which share a
    folder of downloads do not write one file at once. Collective.

    Args:
        config: What this worker was asked to do.
        workers: All of them.
        find: Finds the file on this machine.

    Raises:
        UserError: This worker was given other settings than the chief, or has another file.
    """
    if workers.alone:
        return find()
    check_settings(workers, _settings(config))
    weights = find() if workers.chief else None
    hashed = workers.from_chief(lambda: fingerprint_of(weights.path) if weights else None)
    if not workers.chief:
        weights = find()
        if weights and fingerprint_of(weights.path) != hashed:
            raise UserError(f"worker {workers.index + 1} has other weights at {str(weights.path)!r} than the chief")
    return weights


def check_settings(workers: Workers, settings: dict[str, Any]) -> None:
    """Collective.

    Args:
        workers: All of them.
        settings: Of this worker's command, as JSON has them.

    Raises:
        UserError: The chief was given others.
    """
    of_chief = workers.from_chief(lambda: settings)
    for name, value in settings.items():
        theirs = of_chief.get(name)
        if theirs != value:
            raise UserError(f"worker {workers.index + 1} was given {name} {value!r}, but the chief {theirs!r}")


@contextmanager
def finished_run_for_all(run: Run, workers: Workers) -> Iterator[Run]:
    """The chief's run; the others have a copy of what its model needs until the end. Collective.

    Raises:
        UserError: It is not finished, or there is none.
    """
    if workers.alone:
        yield finished_run(run.path)
        return

    def read() -> dict[str, np.ndarray]:
        return {file.name: np.fromfile(file, np.uint8) for file in finished_run(run.path).of_model}

    contents = workers.arrays_from_chief(read)
    if workers.chief:
        yield run
        return
    with TemporaryDirectory() as folder:
        copy = Run(Path(folder), writable=False)
        for file in copy.of_model:
            file.write_bytes(contents[file.name].tobytes())
        yield copy


def manifest_for_all(workers: Workers, find: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The manifest that the chief finds. Collective.

    Args:
        workers: All of them.
        find: Looks at all images, or reads what a run has kept.
    """
    if workers.alone:
        return find()
    text = workers.from_chief(lambda: find().to_csv(index=False))
    return load_manifest(io.StringIO(text))


def head_for_all(workers: Workers, fit: Callable[[], Head]) -> Head:
    """The head that the chief fits. Collective."""
    if workers.alone:
        return fit()
    arrays = workers.arrays_from_chief(lambda: {name: np.asarray(value) for name, value in asdict(fit()).items()})
    fields: dict[str, Any] = {name: value if value.ndim else value.item() for name, value in arrays.items()}
    return Head(**fields)


def _settings(config: FinetuneConfig) -> dict[str, object]:
    return {name: value for name, value in config.as_arguments().items() if name not in _OWN_SETTINGS}
