"""What watches over the epochs: keeping the best model, the history, checkpoints, and naming a collapse."""

import json
import math
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from pipelines.run import Run, write_atomically, write_csv
from pipelines.terminal import say
from resnet_tf.errors import UserError

HISTORY_COLUMNS = (
    "epoch",
    "phase",
    "loss",
    "accuracy",
    "val_accuracy",
    "val_log_loss",
    "learning_rate",
    "seconds",
)


@dataclass
class Progress:
    """What a run has earned so far; stands in every checkpoint.

    Args:
        epochs_done: Of the phase in which all layers are trained.
        best: What model.keras is, in words; "" while there is none.
        best_epoch: When that was; 0 is the head on frozen features.
        best_accuracy: On the validation part.
        best_log_loss: Likewise.
        rows: Of history.csv.
        stopped: Why the epochs ended early, or "".
        finished: Why nothing is left to do, or "" while something is.
    """

    epochs_done: int = 0
    best: str = ""
    best_epoch: int = 0
    best_accuracy: float = 0.0
    best_log_loss: float | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    stopped: str = ""
    finished: str = ""

    def improves(self, log_loss: float) -> bool:
        """Whether a model is better than the best so far.

        Log loss is a proper score and uses every probability; the accuracy on a few hundred validation images
        is too coarse to tell epochs apart.
        """
        return math.isfinite(log_loss) and (self.best_log_loss is None or log_loss < self.best_log_loss)


def collapse_reason(loss: float, accuracy: float, best_accuracy: float, chance: float) -> str:
    """Why training has failed, or "" where it has not.

    Args:
        loss: Of the last epoch.
        accuracy: On the validation part, after it.
        best_accuracy: The best before.
        chance: Share of the largest class in the validation part.
    """
    if not math.isfinite(loss):
        return "the loss became NaN or infinite"
    if best_accuracy >= 3 * chance and accuracy <= 1.5 * chance:
        return f"validation accuracy fell from {best_accuracy:.3f} to {accuracy:.3f}, the level of chance"
    return ""


class Watch(keras.callbacks.Callback):
    """After each epoch: history, best model, checkpoint, and whether to go on.

    Args:
        run: Where all of it goes.
        progress: Changed in place.
        validate: Gives accuracy and log loss on the validation part.
        save_best: Writes the model's present variables as the best model.
        chance: Accuracy of always naming the largest class.
        patience: Epochs without improvement before training stops.
        epochs: Planned in all.
    """

    def __init__(
        self,
        run: Run,
        progress: Progress,
        *,
        validate: Callable[[], tuple[float, float]],
        save_best: Callable[[], None],
        chance: float,
        patience: int,
        epochs: int,
    ) -> None:
        super().__init__()
        self.run, self.progress, self.validate, self.save_best = run, progress, validate, save_best
        self.chance, self.patience, self.epochs = chance, patience, epochs
        self.collapsed = ""
        self.started = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.started = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if logs and not math.isfinite(logs["loss"]):
            self._stop_collapsed("the loss became NaN or infinite", self.progress.epochs_done + 1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.collapsed:
            return
        assert logs is not None
        logs["val_accuracy"], logs["val_log_loss"] = self.validate()  # TensorBoard, which comes next, shows them too
        progress, number = self.progress, epoch + 1
        reason = collapse_reason(logs["loss"], logs["val_accuracy"], progress.best_accuracy, self.chance)
        if reason:
            self._stop_collapsed(reason, number)
            return
        row = {
            "epoch": number,
            "phase": "all layers",
            "loss": logs["loss"],
            "accuracy": logs["accuracy"],
            "val_accuracy": logs["val_accuracy"],
            "val_log_loss": logs["val_log_loss"],
            "learning_rate": float(self.model.optimizer.learning_rate),
            "seconds": round(time.monotonic() - self.started, 2),
        }
        progress.rows.append(row)
        progress.epochs_done = number
        score = row["val_accuracy"], row["val_log_loss"]
        better = keep_if_better(progress, f"epoch {number}", number, score, self.save_best)
        if number - progress.best_epoch >= self.patience:
            progress.stopped = f"no better validation for {self.patience} epochs"
            self.model.stop_training = True
        save_checkpoint(self.run, self.model, progress)
        write_history(self.run, progress)
        say(
            f"epoch {number}/{self.epochs}  loss {row['loss']:.4f}  accuracy {row['accuracy']:.4f}  "
            f"val accuracy {row['val_accuracy']:.4f}  val log loss {row['val_log_loss']:.4f}  "
            f"{row['seconds']:.1f} s{'  best' if better else ''}"
        )

    def _stop_collapsed(self, reason: str, epoch: int) -> None:
        self.collapsed = f"{reason} in epoch {epoch}"
        self.model.stop_training = True


class StepBar(keras.callbacks.Callback):
    """A bar of the steps of an epoch, on a terminal only."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        from tqdm import tqdm

        steps = self.params.get("steps")
        self.bar = tqdm(total=steps, desc=f"epoch {epoch + 1}", unit="step", disable=None, leave=False)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.bar.update(1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.bar.close()


def keep_if_better(
    progress: Progress, name: str, epoch: int, score: tuple[float, float], save_best: Callable[[], None]
) -> bool:
    """Writes the model where it is the best so far, and remembers that.

    Args:
        progress: Changed in place.
        name: Of the model, in words.
        epoch: When it was.
        score: Accuracy and log loss on the validation part.
        save_best: Writes it.

    Returns:
        Whether it was the best.
    """
    accuracy, log_loss = score
    if not progress.improves(log_loss):
        return False
    save_best()
    progress.best, progress.best_epoch = name, epoch
    progress.best_accuracy, progress.best_log_loss = accuracy, log_loss
    return True


def write_history(run: Run, progress: Progress) -> None:
    """history.csv, one row per epoch; epoch 0 is the head on frozen features."""
    write_csv(run.history, pd.DataFrame(progress.rows, columns=list(HISTORY_COLUMNS)))


def save_checkpoint(run: Run, model: keras.Model, progress: Progress) -> None:
    """Variables of model and optimizer and the progress, in one file; the one before is removed after it.

    A finished run keeps the progress only.
    """
    path = run.checkpoints / f"epoch-{progress.epochs_done:04d}.npz"
    variables = {} if progress.finished else _variables(model)
    arrays = {name: keras.ops.convert_to_numpy(variable) for name, variable in variables.items()}
    arrays["progress"] = np.frombuffer(json.dumps(asdict(progress)).encode(), np.uint8)
    write_atomically(path, lambda temporary: _save_npz(temporary, arrays))
    for older in _checkpoints(run):
        if older != path:
            older.unlink()
    if progress.finished:  # only now: a run that is cut off before still needs the start
        _start_file(run).unlink(missing_ok=True)


def save_start(run: Run, model: keras.Model) -> None:
    """The model's variables before all layers are trained, for `load_start`."""
    arrays = {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.variables}
    write_atomically(_start_file(run), lambda temporary: _save_npz(temporary, arrays))


def load_start(run: Run) -> dict[str, np.ndarray]:
    """What `save_start` kept, by variable path.

    Raises:
        UserError: The file is damaged.
    """
    with _open_checkpoint(_start_file(run)) as arrays:
        return {name: arrays[name] for name in arrays.files}


def load_progress(run: Run) -> Progress:
    """Where a run stands; a new one where it has no checkpoint.

    Raises:
        UserError: The checkpoint is damaged.
    """
    path = _newest(run)
    if path is None:
        return Progress()
    with _open_checkpoint(path) as arrays:
        return Progress(**json.loads(arrays["progress"].tobytes()))


def load_checkpoint(run: Run, model: keras.Model) -> None:
    """Puts the newest checkpoint's variables into a compiled model and its built optimizer.

    Raises:
        UserError: The checkpoint is damaged, or of another network.
    """
    path = _newest(run)
    assert path is not None, "asked for a checkpoint where load_progress found none"
    variables = _variables(model)
    with _open_checkpoint(path) as arrays:
        if set(arrays.files) - {"progress"} != set(variables):
            raise UserError(f"the checkpoint {str(path)!r} is of another network; choose another --run")
        for name, variable in variables.items():
            variable.assign(arrays[name])


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    named = [(f"model/{variable.path}", variable) for variable in model.variables]
    named += [(f"optimizer/{variable.path}", variable) for variable in model.optimizer.variables]
    return dict(named)


def _start_file(run: Run) -> Path:
    return run.checkpoints / "start.npz"


def _checkpoints(run: Run) -> list[Path]:
    return sorted(run.checkpoints.glob("epoch-*.npz"))


def _newest(run: Run) -> Path | None:
    found = _checkpoints(run)
    return found[-1] if found else None


def _open_checkpoint(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"the checkpoint {str(path)!r} is damaged ({error}); choose another --run") from error


def _save_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
