"""Training processes are killed at random moments, in every phase, and continued by the same command.

The tests run with and without a cache. RESNET_TF_KILLS=20 kills 20 times; `-s` shows when each process died.
"""

import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.runs.directory import Run, load_model
from pipelines.training.checkpoint import load_checkpoint
from tests.pipelines.processes import start

KILLS = int(os.environ.get("RESNET_TF_KILLS", "3"))
EPOCHS, STEPS = 2, 3  # 20 images in batches of 8
PATIENCE = 120.0  # seconds that a process may take to print a line or write a file


@dataclass(frozen=True)
class Moment:
    """The moment at which a process is to die.

    It is at most `within` seconds after a line of its output has appeared and, if they are given, after a number of
    checkpoints has been written and a file is in their folder.
    """

    phase: str
    line: str = "recipe:"
    checkpoints: int = 0
    file: str = ""
    within: float = 0.3

    def has_come(self, output: Path, run: Run) -> bool:
        if self.line not in output.read_text():
            return False
        written = max((int(path.stem) for path in run.checkpoints.glob("[0-9]*.npz")), default=0)
        return written >= self.checkpoints and (not self.file or any(run.checkpoints.glob(self.file)))


# The moments are in the order of a run, which writes a checkpoint after the head, each step, and each validation.
MOMENTS = (
    Moment("start", line="looked at", within=2.0),
    Moment("features", within=1.5),
    Moment("head", line="features of val", within=0.4),
    Moment("writing a checkpoint", file=".writing-*", within=0.02),
    Moment("tracing", checkpoints=1, within=4.0),
    Moment("fine-tuning", checkpoints=2),
    Moment("validation", checkpoints=1 + STEPS, within=0.5),
    Moment("writing a checkpoint", checkpoints=1 + STEPS + 2, file=".writing-*", within=0.02),
    Moment("fine-tuning", checkpoints=1 + STEPS + 1 + 2, within=0.2),
    Moment("validation", checkpoints=1 + STEPS + 1 + STEPS),
    Moment("averaging", checkpoints=1 + EPOCHS * (STEPS + 1), within=0.5),
)


def finish(arguments, output):
    process = start(arguments, output)
    process.join()
    assert process.exitcode == 0, output.read_text()


def kill(arguments, output, run, moment, seconds, number=signal.SIGKILL):
    """Starts the command and sends a signal at a moment; the exit code tells whether the signal came in time."""
    process = start(arguments, output)
    limit = time.monotonic() + PATIENCE
    while process.is_alive() and not moment.has_come(output, run):
        assert time.monotonic() < limit, f"{moment} has not come: {output.read_text()}"
        time.sleep(0.002)
    time.sleep(seconds)
    if process.is_alive():
        os.kill(process.pid, number)
    process.join()
    return process.exitcode


@pytest.fixture(scope="module")
def command(images, small, small_weights):
    """Returns the arguments of the command without the run directory."""
    options = f"--arch {small} --image-size 32 --batch-size 8 --precision float32 --deterministic"
    options += f" --epochs {EPOCHS} --checkpoint-seconds 0"
    return ["finetune", str(images), "--weights", str(small_weights), *options.split()]


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    """Returns the run of a process that was not killed."""
    folder = tmp_path_factory.mktemp("whole")
    finish([*command, "--run", str(folder / "run")], folder / "output")
    return Run(folder / "run")


def assert_same(run, whole):
    """Asserts that best model, history without the seconds, and end of the run are equal bit for bit."""
    ours, theirs = load_model(run), load_model(whole)
    for a, b in zip(ours.variables, theirs.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=a.path)
    histories = [pd.read_csv(each.history).drop(columns="seconds") for each in (run, whole)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    ends = [load_checkpoint(each).progress for each in (run, whole)]
    assert ends[0].finished == ends[1].finished
    assert (ends[0].best, ends[0].best_log_loss) == (ends[1].best, ends[1].best_log_loss)


def test_a_run_that_is_killed_again_and_again_ends_as_if_nothing_had_been(command, whole, tmp_path):
    chance, left = random.Random(0), KILLS
    while left:
        run, output = Run(tmp_path / f"run{left}"), tmp_path / "output"
        arguments = [*command, "--run", str(run.path)]
        for number in sorted(chance.sample(range(len(MOMENTS)), min(left, len(MOMENTS)))):
            moment = MOMENTS[number]
            seconds = chance.uniform(0, moment.within)
            where = ("--cache", chance.choice(("disk", "ram", "disk", "none")))
            code = kill([*arguments, *where], output, run, moment, seconds)
            if code == 0:  # it ended before the signal
                break
            assert code == -signal.SIGKILL, output.read_text()
            left -= 1
            at = load_checkpoint(run)
            step = f"epoch {at.progress.epochs_done} step {at.progress.steps_done}" if at else "no checkpoint yet"
            print(f"{run.path.name} {moment.phase} + {seconds:.3f} s, {' '.join(where)}: {step}")
        finish([*arguments, "--cache", "disk"], output)
        assert_same(run, whole)
        assert not run.cache.exists()
        print(f"{run.path.name} is the same as the run that nobody killed")


def test_signals_save_the_step_first(command, whole, tmp_path):
    run, output = Run(tmp_path / "run"), tmp_path / "output"
    arguments = [*command, "--run", str(run.path)]
    arguments[arguments.index("--checkpoint-seconds") + 1] = "3600"  # only the signal leads to a checkpoint
    process = start(arguments, output, signals=[(0, 1, signal.SIGTERM)])
    process.join()
    assert process.exitcode == 143, output.read_text()
    assert_last_line(output, "terminated; best model kept: head on frozen features")
    assert load_checkpoint(run).progress.steps_done == 2
    assert kill(arguments, output, run, Moment("start"), 0.0, signal.SIGINT) == 130, output.read_text()
    assert_last_line(output, "interrupted; best model kept: head on frozen features")
    finish(arguments, output)
    assert_same(run, whole)


def assert_last_line(output, start):
    last = output.read_text().splitlines()[-1]
    assert last.startswith(start)
    assert last.endswith("the same command continues")
