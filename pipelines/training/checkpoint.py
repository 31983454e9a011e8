"""Checkpoints contain all that a continued run needs, at any step of an epoch.

They are written atomically, and verified when they are read.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipelines.console.terminal import warn
from pipelines.evaluation.score import Score
from pipelines.runs.directory import Run
from pipelines.runs.files import write_atomically
from resnet_tf.errors import UserError
from resnet_tf.workers import Workers

# The number of checkpoints that are kept: the newest one, and the one before it in case the newest is damaged.
KEPT = 2
_DIGEST = "sha256"


@dataclass
class Progress:
    """What a run has achieved so far; every checkpoint contains it.

    Args:
        epochs_done: Number of finished epochs in which all layers are trained.
        steps_done: Number of finished steps of the present epoch.
        seconds: Time spent in the present epoch, in seconds.
        logs: Loss and accuracy of the present epoch so far.
        best: Name of the network in model.keras, in words; "" while there is none.
        best_epoch: Epoch after which that network was kept; 0 is the head on frozen features.
        best_share: Share of the trained weights in that network: 1 after an epoch, 0 for the head on frozen features,
            and between them for an average with the weights from before; None while there is none.
        best_accuracy: Accuracy of that network on the validation images.
        best_log_loss: Log loss of that network on the validation images; None while there is none.
        best_balanced_accuracy: Its balanced accuracy on them; None while there is none.
        best_balanced_log_loss: Its balanced log loss on them; None while there is none.
        best_missed: Classes that it (nearly) never recognizes, see `pipelines.evaluation.missed.MissedClass.named`.
        head_strength: Inverse regularization of the head on frozen features; None if there is none.
        head_channels: Number of features that it uses, from the first on; None if there is none.
        rows: Rows of history.csv.
        plateau_epochs: Number of epochs before the learning rate went down, with --epochs auto; 0 until it does.
        plateau_steps: Number of steps of the optimizer before the learning rate went down, with --epochs auto; 0 until
            it does. With --minutes, those before it goes down by the present plan.
        last_step: Number of the optimizer's last step by the present plan, with --minutes; 0 without a plan.
        latest_step: Number of the optimizer's step after which training ends even if time is left, because validation
            has stopped improving; with --minutes, 0 while it improves.
        spent: Seconds that all calls of the run have spent until the checkpoint.
        stopped: Reason why the epochs ended early, or "".
        finished: Reason why nothing is left to do, or "" while something is.
        checkpoints: Number of checkpoints that have been written.
    """

    epochs_done: int = 0
    steps_done: int = 0
    seconds: float = 0.0
    logs: dict[str, float] = field(default_factory=dict)
    best: str = ""
    best_epoch: int = 0
    best_share: float | None = None
    best_accuracy: float = 0.0
    best_log_loss: float | None = None
    best_balanced_accuracy: float | None = None
    best_balanced_log_loss: float | None = None
    best_missed: list[dict[str, Any]] = field(default_factory=list)
    head_strength: float | None = None
    head_channels: int | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    plateau_epochs: int = 0
    plateau_steps: int = 0
    last_step: int = 0
    latest_step: int = 0
    spent: float = 0.0
    stopped: str = ""
    finished: str = ""
    checkpoints: int = 0

    def improves(self, score: Score, choose_by: str) -> bool:
        """Returns whether a model is better than the best so far.

        Log loss is a proper score and uses every probability; the accuracy on a few hundred validation images
        is too coarse to tell epochs apart.

        Args:
            score: Score of the model.
            choose_by: Figure that decides, "log_loss" or "balanced_log_loss".
        """
        loss, best = getattr(score, choose_by), getattr(self, f"best_{choose_by}")
        return math.isfinite(loss) and (best is None or loss < best)

    def keep(self, name: str, epoch: int, share: float, score: Score, classes: Sequence[str]) -> None:
        """Records a model as the best so far.

        Args:
            name: Name of the network, in words.
            epoch: Number of epochs that the network has been trained.
            share: Share of the trained weights in it.
            score: Score on the validation images.
            classes: Names of the classes.
        """
        self.best, self.best_epoch, self.best_share = name, epoch, share
        self.best_accuracy, self.best_log_loss = score.accuracy, score.log_loss
        self.best_balanced_accuracy = score.balanced_accuracy
        self.best_balanced_log_loss = score.balanced_log_loss
        self.best_missed = [missed.named(classes) for missed in score.missed]


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint file.

    Args:
        path: Path of the file.
        progress: Progress of the run at that time.
        arrays: Variables of model and optimizer, and the running metrics of the epoch.
    """

    path: Path
    progress: Progress
    arrays: dict[str, np.ndarray]


def save_checkpoint(run: Run, model: keras.Model, progress: Progress) -> None:
    """Saves the variables of model and optimizer, the running metrics and the progress in one file.

    The newest two files are kept. A finished run keeps only the progress. All workers must call this together, because
    each has a part of the metrics.

    Raises:
        UserError: The file cannot be written; earlier checkpoints stay.
    """
    progress.checkpoints += 1
    named = {} if progress.finished else {**_variables(model), **_metrics(model)}
    arrays = {name: keras.ops.convert_to_numpy(variable) for name, variable in named.items()}
    if not run.writable:
        return
    _write(run.checkpoints / f"{progress.checkpoints:08d}.npz", with_progress(arrays, progress))
    for older in _checkpoints(run)[: -1 if progress.finished else -KEPT]:
        older.unlink()
    if progress.finished:  # only now, because a run that is cut off before still needs the start
        _start_file(run).unlink(missing_ok=True)


def load_checkpoint(run: Run) -> Checkpoint | None:
    """Returns the newest checkpoint that is not damaged, or None if the run has no checkpoints.

    Raises:
        UserError: All checkpoints are damaged.
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
    """Returns a checkpoint's arrays and its progress as arrays, which `without_progress` takes."""
    return {**arrays, "progress": np.frombuffer(json.dumps(asdict(progress)).encode(), np.uint8)}


def without_progress(path: Path, arrays: dict[str, np.ndarray]) -> Checkpoint:
    """Returns the checkpoint whose arrays `with_progress` has returned."""
    progress = Progress(**json.loads(arrays.pop("progress").tobytes()))
    return Checkpoint(path, progress, arrays)


def restore(checkpoint: Checkpoint, model: keras.Model) -> None:
    """Puts a checkpoint's variables into a compiled model and its built optimizer, and frees their memory.

    Raises:
        UserError: The checkpoint is of a different network.
    """
    variables = _variables(model)
    if {name for name in checkpoint.arrays if not name.startswith("metric/")} != set(variables):
        raise UserError(f"the checkpoint {str(checkpoint.path)!r} is of another network; choose another --run")
    for name, variable in variables.items():
        variable.assign(checkpoint.arrays.pop(name))


def add_metrics(checkpoint: Checkpoint, model: keras.Model) -> None:
    """Adds a checkpoint's running metrics to the model's, which Keras makes in the first step of `fit`.

    All metrics are sums. The sum of two numbers does not depend on their order, so no bit is lost.
    """
    for name, variable in _metrics(model).items():
        variable.assign(keras.ops.convert_to_numpy(variable) + checkpoint.arrays[name])


def values_of(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns the values of the model's variables, by path."""
    return {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.variables}


def save_start(run: Run, model: keras.Model, **extra: np.ndarray) -> None:
    """Saves the model's variables before all layers are trained, and further arrays that continued runs need."""
    if run.writable:
        _write(_start_file(run), {**values_of(model), **extra})


def load_start(run: Run) -> dict[str, np.ndarray]:
    """Returns the arrays that `save_start` has saved, by variable path or name.

    Raises:
        UserError: The file is damaged.
    """
    try:
        return _read(_start_file(run))
    except _Damaged as damage:
        raise UserError(f"{damage}; start anew with another --run") from damage


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
    except Exception as error:  # zipfile, zlib and NumPy raise many kinds of errors for damaged files
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
    """Returns the chief's newest checkpoint that is not damaged, or None if the run has no checkpoints.

    All workers must call this together.

    Raises:
        UserError: All checkpoints are damaged.
    """
    if workers.alone:
        return load_checkpoint(run)

    def read() -> dict[str, np.ndarray]:
        checkpoint = load_checkpoint(run)
        return with_progress(checkpoint.arrays, checkpoint.progress) if checkpoint else {}

    arrays = workers.arrays_from_chief(read)
    return without_progress(run.checkpoints, arrays) if arrays else None
