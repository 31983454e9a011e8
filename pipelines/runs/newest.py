"""Finds the run that a command means where nobody has named one, and the name of a new one."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipelines.config.shared import RUNS
from pipelines.runs.directory import Run, read_config
from pipelines.runs.state import state_of
from resnet_tf.errors import UserError

_ARCHIVES = re.compile(r"\.(?:zip|csv|tar|tgz|tbz2|txz|tar\.(?:gz|bz2|xz))$", re.IGNORECASE)


def newest_finished_run(folder: Path = Path(RUNS)) -> Run:
    """Returns the finished run whose model was written last.

    Args:
        folder: Folder of the runs.

    Raises:
        UserError: There is none.
    """
    for run in _newest_first(folder):
        if state_of(run).finished:
            return run
    raise UserError(
        f"there is no finished run in {str(folder.absolute())!r}; name a run, or make one with `resnet-tf PHOTOS`"
    )


def new_run(data: str, same: Callable[[dict[str, Any]], bool], folder: Path = Path(RUNS)) -> Run:
    """Returns the place of a new run, or an unfinished one with the same settings, which is continued.

    Args:
        data: Photos that it is about, whose name is in the name of the run.
        same: Function that says whether the arguments in a config.json are those of the run that is wanted.
        folder: Folder of the runs.
    """
    name = name_of(data)
    numbered = re.compile(re.escape(name) + r"-([1-9]\d{0,8})")
    taken = [int(found[1]) for each in _entries(folder) if (found := numbered.match(each.name))]
    for number in sorted(set(taken), reverse=True):
        run = Run(folder / f"{name}-{number}")
        if _is_unfinished(run) and same(read_config(run.config)["arguments"]):
            return run
    return Run(folder / f"{name}-{max(taken, default=0) + 1}")


def name_of(data: str) -> str:
    """Returns the name of a folder, a table or an archive, without its ending and without what a shell would change."""
    plain = _ARCHIVES.sub("", Path(os.path.abspath(data)).name)
    return re.sub(r"[^\w.]+", "-", plain).strip("-.") or "photos"


def _newest_first(folder: Path) -> Iterator[Run]:
    runs = [Run(path) for path in _entries(folder)]
    whole = [run for run in runs if all(file.is_file() for file in run.of_model)]
    yield from sorted(whole, key=lambda run: run.model.stat().st_mtime_ns, reverse=True)


def _is_unfinished(run: Run) -> bool:
    try:
        return run.config.is_file() and not state_of(run).finished
    except UserError:  # its config.json is damaged
        return False


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
