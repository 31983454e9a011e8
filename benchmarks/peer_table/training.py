"""Runs one training in the environment of its method, with a limit of time, and scores what it predicts."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from benchmarks.peer_table.cases import DividedCase
from benchmarks.peer_table.locks import locked
from benchmarks.peer_table.methods import Method
from benchmarks.peer_table.results import Result, add_results
from benchmarks.peer_table.scoring import averaged, estimates, read_predictions
from benchmarks.peer_table.workers.exchange import CLOCK, Task

WORKERS = Path(__file__).resolve().parent / "workers"
FAILED = "failed.txt"  # in an environment that could not be installed: the reason
LOG = "log.txt"
# Nothing may be downloaded: the weights are those of the file, and a wait for a server is not a method's.
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "MPLBACKEND": "Agg", "TF_CPP_MIN_LOG_LEVEL": "3"}
KEPT_BYTES = 2**20  # larger files of a training, such as weights, are deleted when it has ended
_REASON = 400  # characters


@dataclass(frozen=True)
class Setup:
    """What all trainings share.

    Args:
        out: Folder of all results.
        environments: Folder of the environments.
        weights: Path of the weights.
        arch: Name of the architecture.
        image_size: Height and width of the network's input, in pixels.
        limit_minutes: Time after which a training is ended.
        timm_script: Path of timm's train.py.
    """

    out: Path
    environments: Path
    weights: Path
    arch: str
    image_size: int
    limit_minutes: float
    timm_script: Path


def measure(setup: Setup, case: DividedCase, name: str, method: Method, seed: int) -> list[Result]:
    """Runs one training, and adds its rows to the results.

    Args:
        setup: What all trainings share.
        case: Images and their division.
        name: Name of the method.
        method: The method.
        seed: Seed of the training.

    Returns:
        The rows, which say why there is no result if the training failed; none if another process runs it just now.
    """
    folder = case.folder / f"{name}-{seed}"
    with locked(folder, wait=False) as claimed:
        if not claimed:
            return []
        _empty(folder)
        before = _processor_seconds()
        reason = _not_installed(setup, method) or _run(setup, case, method, seed, folder)
        processor_seconds = _processor_seconds() - before
        rows = [
            replace(
                _result(setup, case, method, folder, seed, reason, row, *of_row),
                processor_seconds=None if reason else processor_seconds,
            )
            for row, of_row in method.rows(name).items()
        ]
        add_results(setup.out, rows)
        for file in folder.rglob("*"):
            if file.is_file() and file.stat().st_size > KEPT_BYTES and file.suffix not in (".csv", ".txt"):
                file.unlink()
    return rows


def interpreter(environments: Path, method: Method) -> Path:
    """Returns the path of the Python that runs a method."""
    return environments / method.environment / "bin" / "python" if method.environment else Path(sys.executable)


def _not_installed(setup: Setup, method: Method) -> str:
    """Returns why the method's environment cannot be used, "" if it can."""
    if not method.environment:
        return ""
    failed = setup.environments / method.environment / FAILED
    if failed.exists():
        return f"could not be installed: {failed.read_text().strip()}"
    if method.worker == "with_timm" and not setup.timm_script.is_file():
        return f"there is no {setup.timm_script.name} of timm; --timm-script names it"
    return ""


def _run(setup: Setup, case: DividedCase, method: Method, seed: int, folder: Path) -> str:
    """Runs the method's script; returns why it failed, "" if it did not."""
    script = {"script": str(setup.timm_script)} if method.worker == "with_timm" else {}
    task = Task(
        folder=str(folder),
        data=str(case.data),
        manifest=str(case.manifest),
        images=str(case.images),
        listing=str(case.listing),
        weights=str(setup.weights),
        arch=setup.arch,
        image_size=setup.image_size,
        seed=seed,
        classes=case.classes(),
        options={**method.options, **script},
        started=time.time(),
    )
    command = [str(interpreter(setup.environments, method)), str(WORKERS / f"{method.worker}.py"), str(task.write())]
    with open(folder / LOG, "w") as log:
        status = _status(command, folder, log, setup.limit_minutes)
    if status is None:
        return f"took longer than {setup.limit_minutes:g} minutes"
    return f"ended with {status}: {last_words(folder / LOG)}" if status else ""


def _processor_seconds() -> float:
    """Returns the processors' time of all commands that have ended, with that of their children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _status(command: list[str], folder: Path, log: object, limit_minutes: float) -> int | None:
    """Returns the exit status of a command, None if it was ended because it took too long."""
    environment = {**os.environ, **OFFLINE}
    process = subprocess.Popen(
        command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
    )
    try:
        return process.wait(limit_minutes * 60)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:  # its children, too: data loaders, and the verbs of our recipe
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def last_words(log: Path) -> str:
    """Returns the last line of a log that is not blank, shortened."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:_REASON] if lines else "it said nothing"


def _result(
    setup: Setup, case: DividedCase, method: Method, folder: Path, seed: int, reason: str, row: str, *of_row: str
) -> Result:
    output, title = of_row
    figures: dict[str, float] = {}
    clock = {"training": None, "prediction": None}
    predictions = folder / f"{output}.csv"
    if not reason:
        try:
            clock = json.loads((folder / CLOCK).read_text())[output]
            images = read_predictions(predictions, listed_test(case.listing), case.classes())
            figures = {"n": len(images)} | {key: each.value for key, each in estimates(averaged([images])).items()}
        except (OSError, KeyError, ValueError) as error:
            reason = f"its answer cannot be used: {error}"
    fold, count = case.fold, int(case.folder.name.rpartition("-")[2])
    return Result(
        data=case.name,
        fold=fold,
        folds=count,
        method=row,
        title=title,
        seed=seed,
        reason=reason,
        predictions="" if reason else str(predictions.relative_to(setup.out)),
        listing=str(case.listing.relative_to(setup.out)),
        training_seconds=None if reason else clock["training"],
        prediction_seconds=None if reason else clock["prediction"],
        figures=figures,
        options=method.options,
    )


def listed_test(listing: Path) -> pd.DataFrame:
    """Returns the rows of a listing that are the test: file, path, label, split, unit."""
    table = pd.read_csv(listing, keep_default_na=False, dtype={"path": str, "label": str})
    return table[table["split"] == "test"].reset_index(drop=True)


def _empty(folder: Path) -> None:
    """Deletes what a training that was cut off has left, because its minutes are lost."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
