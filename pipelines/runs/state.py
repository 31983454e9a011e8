"""Whether a run is finished, as its newest checkpoint says."""

import json
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.runs.directory import Run, read_config


@dataclass(frozen=True)
class RunState:
    """What a run says of itself.

    Args:
        finished: Whether the run is finished; None if nothing says it.
        text: The state in words; "" for a finished run.
    """

    finished: bool | None
    text: str = ""


def state_of(run: Run) -> RunState:
    """Reads whether a run is finished. An imported network always is.

    Args:
        run: Run that has a config.json.

    Raises:
        UserError: config.json cannot be read.
    """
    config = read_config(run.config)
    if config.get("imported"):
        return RunState(True)
    progress = progress_of(run)
    if progress is None:
        return RunState(None, "nothing says whether the run is finished, since its checkpoints are gone")
    finished, done = bool(progress["finished"]), int(progress["epochs_done"])
    return RunState(True) if finished else RunState(False, f"the run is not finished: {_epochs(done)}")


def progress_of(run: Run) -> dict[str, Any] | None:
    """Returns the progress in the newest whole checkpoint of a run, or None if there is none.

    Its keys are the fields of `pipelines.training.checkpoint.Progress`.
    """
    for path in sorted(run.checkpoints.glob("[0-9]*.npz"), reverse=True):
        try:
            with np.load(path, allow_pickle=False) as file:
                progress = json.loads(file["progress"].tobytes())
            progress["finished"], int(progress["epochs_done"])
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):  # the one before may be whole
            continue
        return progress
    return None


def _epochs(done: int) -> str:
    return "no epoch of all layers is done" if not done else f"{done} epoch{'s are' if done > 1 else ' is'} done"
