"""A run survives more than being killed: damaged checkpoints, full disks, lost images, and a second process."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from pipelines.console.signals import Interrupts, Terminated
from pipelines.data.manifest import load_manifest
from pipelines.finetune import finetune
from pipelines.images.lost_images import LostImage, rows_of_step
from pipelines.images.stream import InputSpec
from pipelines.runs.directory import Run
from pipelines.training import checkpoint as module
from pipelines.training.callback import TrainingCallback
from pipelines.training.checkpoint import load_checkpoint, load_start
from pipelines.training.training_run import TrainingRun
from resnet_tf.errors import UserError
from tests.conftest import small_config
from tests.networks import SMALL

STEPS = 3  # 20 images in batches of 8
SETTINGS = {"arch": SMALL.name, "checkpoint_seconds": 0.0}


@pytest.fixture(scope="module")
def photos(images, tmp_path_factory):
    """Returns images that a test may change if it changes them back."""
    return shutil.copytree(images, tmp_path_factory.mktemp("photos") / "photos")


@pytest.fixture(scope="module")
def cut_off(photos, small, tmp_path_factory):
    """Returns a run that received SIGTERM in the second step of its only epoch, which tests must not change."""
    original = TrainingCallback.on_train_batch_end

    def end(self, batch, logs=None):
        if batch == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        original(self, batch, logs)

    run = tmp_path_factory.mktemp("cut_off") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingCallback, "on_train_batch_end", end)
        with pytest.raises(Terminated, match="the same command continues"):
            finetune(small_config(photos, run, **SETTINGS))
    return Run(run)


@pytest.fixture
def run(cut_off, tmp_path):
    """Returns a copy of that run."""
    return Run(shutil.copytree(cut_off.path, tmp_path / "run"))


def continued(run, photos):
    return finetune(small_config(photos, run.path, **SETTINGS))


def iterations(checkpoint):
    return int(checkpoint.arrays["optimizer/optimizer/iteration"])


def test_the_step_is_kept_and_two_checkpoints(run, photos):
    assert load_checkpoint(run).progress.steps_done == 2
    assert len(list(run.checkpoints.iterdir())) == 2
    continued(run, photos)
    assert load_checkpoint(run).progress.epochs_done == 1
    assert pd.read_csv(run.history)["epoch"].tolist() == [1]
    assert len(list(run.checkpoints.iterdir())) == 1  # a finished run keeps only the progress


def test_the_last_epoch_is_in_the_history_of_a_run_that_had_only_that_to_write(photos, tiny, tmp_path, monkeypatch):
    def end(self):
        raise KeyboardInterrupt

    run = Run(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "record", end)
        with pytest.raises(KeyboardInterrupt):
            finetune(small_config(photos, run.path, arch=tiny))
    assert load_checkpoint(run).progress.epochs_done == 1
    assert not run.history.exists()
    finetune(small_config(photos, run.path, arch=tiny))
    assert pd.read_csv(run.history)["epoch"].tolist() == [1]
    assert run.curves.is_file()


@pytest.mark.parametrize("damage", ["cut", "bit", "empty"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(run, damage, capsys):
    newest = max(run.checkpoints.iterdir())
    content = bytearray(newest.read_bytes())
    if damage == "bit":
        content[len(content) // 2] ^= 1
    newest.write_bytes(content if damage == "bit" else content[: len(content) // 2 if damage == "cut" else 0])
    assert load_checkpoint(run).progress.steps_done == 1
    text = capsys.readouterr().err
    assert "is damaged" in text
    assert text.endswith("going back to the one before\n")


def test_two_damaged_checkpoints_are_one_sentence(run, photos):
    for file in run.checkpoints.iterdir():
        file.write_bytes(b"")
    with pytest.raises(UserError, match=r"is damaged .*; start anew with another --run"):
        continued(run, photos)


def test_a_number_that_changed_is_found_by_the_digest(run):
    newest = max(run.checkpoints.iterdir())
    with np.load(newest) as file:
        arrays = dict(file)
    name = next(name for name in arrays if name.endswith("kernel"))
    arrays[name] = arrays[name] + np.float32(1)
    np.savez(newest, **arrays)  # a valid zip file with new checksums
    assert load_checkpoint(run).progress.steps_done == 1


def test_damaged_start_weights_are_one_sentence(run):
    (run.checkpoints / "start.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="start anew with another --run"):
        load_start(run)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_no_more_ends_it_with_what_was_written_before(run, photos, monkeypatch, number):
    before = max(run.checkpoints.iterdir())

    def full(file, **arrays):
        file.write(b"PK")
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module.np, "savez", full)
    with pytest.raises(UserError, match=f"cannot write .*{os.strerror(number)}; nothing written before is lost"):
        continued(run, photos)
    assert max(run.checkpoints.iterdir()) == before
    assert not list(run.checkpoints.glob(".writing-*"))
    monkeypatch.undo()
    continued(run, photos)
    assert load_checkpoint(run).progress.finished


def test_an_image_that_vanishes_is_named_and_waited_for(run, photos):
    manifest = load_manifest(run.manifest)
    train = manifest[manifest["split"] == "train"]
    lost = photos / rows_of_step(train, InputSpec(32), batch_size=8, seed=0, epoch=0, step=STEPS - 1)["path"].iloc[3]
    moved = lost.rename(lost.with_suffix(".elsewhere"))
    try:
        with pytest.raises(LostImage, match=f"{lost.name}' is gone; put it back, and the same command continues"):
            continued(run, photos)
    finally:
        moved.rename(lost)
    checkpoint = load_checkpoint(run)
    assert iterations(checkpoint) == checkpoint.progress.steps_done == 2  # nothing of the failed step was saved
    continued(run, photos)
    assert load_checkpoint(run).progress.finished


def test_an_image_that_turns_bad_in_validation_loses_no_step(run, photos):
    manifest = load_manifest(run.manifest)
    bad = photos / manifest.loc[manifest["split"] == "val", "path"].iloc[0]
    content = bad.read_bytes()
    bad.write_bytes(content[:100])
    try:
        with pytest.raises(LostImage, match=f"{bad.name}' cannot be read any more"):
            continued(run, photos)
    finally:
        bad.write_bytes(content)
    checkpoint = load_checkpoint(run)
    assert iterations(checkpoint) == checkpoint.progress.steps_done == STEPS
    continued(run, photos)
    assert load_checkpoint(run).progress.finished


def test_a_second_process_on_one_run_is_refused(run, photos):
    hold = "import sys\nfrom pathlib import Path\nfrom pipelines.runs.lock import locked\n"
    hold += "from pipelines.runs.directory import Run\n"
    hold += "with locked(Run(Path(sys.argv[1]))): print('mine', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(run.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"mine\n"
        with pytest.raises(UserError, match=f"is in use by process {other.pid}"):
            continued(run, photos)
        other.kill()
    continued(run, photos)  # the kernel has released the lock
    assert load_checkpoint(run).progress.finished


def test_a_signal_in_a_destructor_is_not_forgotten():
    class Destroyed:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)

    def work():
        Destroyed()
        time.sleep(10)

    with Interrupts(), pytest.raises(Terminated):
        work()


def test_the_first_signal_waits_and_the_second_does_not():
    passed = []

    def work(interrupts):
        with interrupts.held():
            os.kill(os.getpid(), signal.SIGTERM)
            passed.append(1)
            os.kill(os.getpid(), signal.SIGINT)
            passed.append(2)

    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt, match="interrupted"):
        work(interrupts)
    assert passed == [1]


def test_what_a_killed_process_was_writing_is_removed(run, photos):
    leftover = run.checkpoints / ".writing-abc.npz"
    leftover.write_bytes(b"half")
    continued(run, photos)
    assert not leftover.exists()
