"""The history of a run: one row for each network that validation has judged."""

import pandas as pd

from pipelines.runs.directory import Run
from pipelines.runs.files import write_csv
from pipelines.training.checkpoint import Progress

HISTORY_COLUMNS = (
    "epoch",
    "phase",
    "loss",
    "accuracy",
    "val_accuracy",
    "val_log_loss",
    "val_balanced_accuracy",
    "val_balanced_log_loss",
    "learning_rate",
    "seconds",
)


def history_of(progress: Progress) -> pd.DataFrame:
    """Returns the rows of a run's progress as a table with the columns `HISTORY_COLUMNS`.

    Epoch 0 is the head on frozen features. What a row lacks is NaN.
    """
    return pd.DataFrame(progress.rows, columns=list(HISTORY_COLUMNS))


def write_history(run: Run, progress: Progress) -> None:
    """Writes history.csv with the rows of the progress."""
    write_csv(run.history, history_of(progress))
