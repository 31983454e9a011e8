"""Checkpoints: all that a continued run needs, at any step of an epoch; written atomically, verified when read."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipelines.console.terminal import warn
from pipelines.runs.directory import Run
from pipelines.runs.files import WRITING, write_atomically
from resnet_tf.errors import UserError
from resnet_tf.workers import Workers

# The newest, and the one before for the case that the newest is damaged.
KEPT = 2
_DIGEST = "sha256"


@dataclass
class Progress:
    """What a run has earned so far; stands in every checkpoint.

    Args:
        epochs_done: Of the phase in which all layers are trained.
        steps_done: Of the epoch after these.
        seconds: Spent in it.
        logs: Loss and accuracy of it so far.
        best: What model.keras is, in words; "" while there is none.
        best_epoch: When that was; 0 is the head on frozen features.
        best_accuracy: On the validation part.
        best_log_loss: Likewise.
        rows: Of history.csv.
        plateau_epochs: With --epochs auto, how many went by before the learning rate went down; 0 until it does.
        plateau_steps: Likewise, in steps of the optimizer.
        stopped: Why the epochs ended early, or "".
        finished: Why nothing is left to do, or "" while something is.
        checkpoints: How many have been written.
    """

    epochs_done: int = 0
    steps_done: int = 0
    seconds: float = 0.0
    logs: dict[str, float] = field(default_factory=dict)
    best: str = ""
    best_epoch: int = 0
    best_accuracy: float = 0.0
    best_log_loss: float | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    plateau_epochs: int = 0
    plateau_steps: int = 0
    stopped: str = ""
    finished: str = ""
    checkpoints: int = 0

    def improves(self, log_loss: float) -> bool:
        """Whether a model is better than the best so far.

        Log loss is a proper score and uses every probability; the accuracy on a few hundred validation images
        is too coarse to tell epochs apart.
        """
        return math.isfinite(log_loss) and (self.best_log_loss is None or log_loss < self.best_log_loss)


@dataclass(frozen=True)
class Checkpoint:
    """What stood in a file.

    Args:
        path: Of the file.
        progress: Where the run was.
        arrays: Variables of model and optimizer, and the running metrics of the epoch.
    """

    path: Path
    progress: Progress
    arrays: dict[str, np.ndarray]


def save_checkpoint(run: Run, model: keras.Model, progress: Progress) -> None:
    """Variables of model and optimizer, running metrics and the progress, in one file; the newest two are kept.

    A finished run keeps the progress only. Of several workers all must come here, since each has a part of the metrics.

    Raises:
        UserError: It cannot be written; those before stay.
    """
    progress.checkpoints += 1
    named = {} if progress.finished else {**_variables(model), **_metrics(model)}
    arrays = {name: keras.ops.convert_to_numpy(variable) for name, variable in named.items()}
    if not run.writable:
        return
    _write(run.checkpoints / f"{progress.checkpoints:08d}.npz", with_progress(arrays, progress))
    for older in _checkpoints(run)[: -1 if progress.finished else -KEPT]:
        older.unlink()
    if progress.finished:  # only now: a run that is cut off before still needs the start
        _start_file(run).unlink(missing_ok=True)


def load_checkpoint(run: Run) -> Checkpoint | None:
    """The newest checkpoint that is whole, None where the run has none.

    Raises:
        UserError: All are damaged.
    """
    found = _checkpoints(run)
    for path in reversed(found):
        try:
            return without_progress(path, _read(path))
        except _Damaged as damage:
            if path != found[0]:
                warn(f"{damage}; going back to the one before")
                continue
            raise UserError(f"{damage}, and there is no whole one before; start anew with another --run") from damage
    return None


def with_progress(arrays: dict[str, np.ndarray], progress: Progress) -> dict[str, np.ndarray]:
    """All of a checkpoint as arrays, which `without_progress` understands."""
    return {**arrays, "progress": np.frombuffer(json.dumps(asdict(progress)).encode(), np.uint8)}


def without_progress(path: Path, arrays: dict[str, np.ndarray]) -> Checkpoint:
    """The checkpoint that `with_progress` has made arrays of."""
    progress = Progress(**json.loads(arrays.pop("progress").tobytes()))
    return Checkpoint(path, progress, arrays)


def restore(checkpoint: Checkpoint, model: keras.Model) -> None:
    """Puts a checkpoint's variables into a compiled model and its built optimizer, and out of memory.

    Raises:
        UserError: The checkpoint is of another network.
    """
    variables = _variables(model)
    if {name for name in checkpoint.arrays if not name.startswith("metric/")} != set(variables):
        raise UserError(f"the checkpoint {str(checkpoint.path)!r} is of another network; choose another --run")
    for name, variable in variables.items():
        variable.assign(checkpoint.arrays.pop(name))


def add_metrics(checkpoint: Checkpoint, model: keras.Model) -> None:
    """Adds a checkpoint's running metrics to the model's, which Keras makes in the first step of `fit`.

    All are sums, and that of two numbers does not depend on their order, so that no bit is lost.
    """
    for name, variable in _metrics(model).items():
        variable.assign(keras.ops.convert_to_numpy(variable) + checkpoint.arrays[name])


def values_of(model: keras.Model) -> dict[str, np.ndarray]:
    """The model's variables by their paths."""
    return {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.variables}


def save_start(run: Run, model: keras.Model, **extra: np.ndarray) -> None:
    """The model's variables before all layers are trained, and what else continued runs need, for `load_start`."""
    if run.writable:
        _write(_start_file(run), {**values_of(model), **extra})


def load_start(run: Run) -> dict[str, np.ndarray]:
    """What `save_start` kept, by variable path or name.

    Raises:
        UserError: The file is damaged.
    """
    try:
        return _read(_start_file(run))
    except _Damaged as damage:
        raise UserError(f"{damage}; start anew with another --run") from damage


def remove_leftovers(run: Run) -> None:
    """Files that a process was writing when it was killed."""
    for folder in (run.path, run.checkpoints, run.cache):
        for file in folder.glob(f"{WRITING}*"):
            file.unlink()


class _Damaged(Exception):
    pass


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    named = [(f"model/{variable.path}", variable) for variable in model.variables]
    named += [(f"optimizer/{variable.path}", variable) for variable in model.optimizer.variables]
    return dict(named)


def _metrics(model: keras.Model) -> dict[str, keras.Variable]:
    return {f"metric/{number}": variable for number, variable in enumerate(model.metrics_variables)}


def _start_file(run: Run) -> Path:
    return run.checkpoints / "start.npz"


def _checkpoints(run: Run) -> list[Path]:
    return sorted(run.checkpoints.glob("[0-9]*.npz"))


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    digest = np.frombuffer(_digest(arrays), np.uint8)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays, **{_DIGEST: digest})

    write_atomically(path, write)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        whole = arrays.pop(_DIGEST).tobytes() == _digest(arrays)
    except Exception as error:  # zipfile, zlib and NumPy each have errors of their own for what they cannot read
        raise _Damaged(f"the checkpoint {str(path)!r} is damaged ({error})") from error
    if not whole:
        raise _Damaged(f"the checkpoint {str(path)!r} is damaged (its SHA-256 is another)")
    return arrays


def _digest(arrays: dict[str, np.ndarray]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.digest()


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
