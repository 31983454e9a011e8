"""Several worker processes on this machine give the numbers of one process, and notice when one of them ends.

RESNET_TF_WORKERS=4 continues with that many workers.
"""

import json
import os
import shutil
import signal
import socket
import time
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest

from pipelines.config.judging import PredictConfig
from pipelines.data.manifest import describe_data, load_manifest, make_manifest
from pipelines.evaluate import evaluate
from pipelines.evaluation.inference import Inference
from pipelines.finetune import finetune
from pipelines.predict import predict
from pipelines.runs.directory import Run, load_model
from pipelines.runs.files import read_json, write_json
from pipelines.training.checkpoint import load_checkpoint
from pipelines.training.network import build_trainer
from pipelines.training.plan import plan_of
from pipelines.training.trainer import Trainer
from resnet_tf.errors import UserError
from resnet_tf.workers import Workers, check_settings
from tests.conftest import small_config
from tests.pipelines.processes import start

WORKERS = int(os.environ.get("RESNET_TF_WORKERS", "2"))
RUN = "<run>"
PATIENCE = 60.0  # seconds within which the others must notice that one has ended
COLUMNS = ["epoch", "loss", "accuracy", "val_accuracy", "val_log_loss", "learning_rate"]
# Sums are made of different parts, and the head's solver stops at 1e-4. A worker's mistake shows in the first digit.
TOLERANCE = 1e-2


class Group:
    """The same command in several processes, each with an output of its own.

    Args:
        arguments: Arguments of the command, in which `RUN` stands for the run directory.
        folder: Folder of the run and the outputs. Each worker has a run directory of its own, which shows who writes.
        count: Number of workers.
        end: Signals that workers send themselves: worker, number of the batch in the first epoch, signal.
    """

    def __init__(self, arguments, folder, count, end=()):
        addresses = [f"localhost:{port}" for port in free_ports(count)]
        self.outputs = [folder / f"output{index}" for index in range(count)]
        self.runs = [Run(folder / ("run" if index == 0 else f"other{index}")) for index in range(count)]
        self.processes = []
        for index, (output, run) in enumerate(zip(self.outputs, self.runs, strict=True)):
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            own = [(0, batch, number) for worker, batch, number in end if worker == index]
            words = [str(run.path) if word == RUN else word for word in arguments]
            self.processes.append(start(words, output, own, TF_CONFIG=json.dumps(config)))

    def finish(self):
        """Returns the exit codes, and the seconds between the first end and the last one."""
        ends = []
        while len(ends) < len(self.processes):
            ends += [time.monotonic()] * (sum(not process.is_alive() for process in self.processes) - len(ends))
            time.sleep(0.05)
        return [process.exitcode for process in self.processes], ends[-1] - ends[0]

    def last_line(self, index):
        return self.outputs[index].read_text().splitlines()[-1]

    def texts(self):
        return "\n".join(output.read_text() for output in self.outputs)


def free_ports(count):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def command(images, small, small_weights):
    options = f"--arch {small} --image-size 32 --batch-size 8 --precision float32 --epochs 1"
    return ["finetune", str(images), "--run", RUN, "--weights", str(small_weights), *options.split()]


@pytest.fixture(scope="module")
def alone(images, small, small_weights, tmp_path_factory):
    """Returns the run of one process."""
    settings = {"arch": small, "weights": str(small_weights), "precision": "float32"}
    return finetune(small_config(images, tmp_path_factory.mktemp("alone") / "run", **settings))


def assert_same(run, alone):
    histories = [pd.read_csv(each.history)[COLUMNS] for each in (run, alone)]
    np.testing.assert_allclose(*histories, rtol=TOLERANCE, atol=TOLERANCE)
    assert run.manifest.read_text() == alone.manifest.read_text()
    for a, b in zip(load_model(run).variables, load_model(alone).variables, strict=True):
        np.testing.assert_allclose(
            np.asarray(a), np.asarray(b), atol=TOLERANCE * np.abs(np.asarray(b)).max(), err_msg=a.path
        )


def test_a_killed_worker_stops_all_and_the_next_group_comes_to_the_end_of_one_process(command, alone, tmp_path):
    group = Group([*command, "--checkpoint-seconds", "0"], tmp_path, 2, end=[(1, 1, signal.SIGKILL)])
    codes, seconds = group.finish()
    assert codes == [2, -signal.SIGKILL], group.texts()
    assert seconds < PATIENCE
    assert group.last_line(0).startswith("error: another worker stopped, or cannot be reached")
    run = group.runs[0]
    assert load_checkpoint(run).progress.steps_done == 1

    group = Group(command, tmp_path, WORKERS)
    assert group.finish()[0] == [0] * WORKERS, group.texts()
    assert "features of train" not in group.outputs[0].read_text()  # finished work is not repeated
    assert_same(run, alone)
    assert read_json(run.config)["devices"] == {
        "workers": 2,
        "devices": 2,
        "images_per_step": 8,
        "images_per_step_and_device": 4,
    }
    assert not any(other.path.exists() for other in group.runs[1:])
    for output in group.outputs[1:]:
        assert len(output.read_text().splitlines()) == 1, group.texts()


def test_a_signal_to_one_worker_stops_all_at_the_same_step(command, tmp_path):
    group = Group([*command, "--checkpoint-seconds", "3600"], tmp_path, 2, end=[(1, 1, signal.SIGTERM)])
    assert group.finish()[0] == [143, 143], group.texts()
    for index in range(2):
        assert group.last_line(index).startswith("terminated; ")
        assert group.last_line(index).endswith("the same command continues")
    assert load_checkpoint(group.runs[0]).progress.steps_done == 2


def test_evaluate_and_predict_give_the_numbers_of_one_process(alone, images, tmp_path):
    """Only the chief has the run, and the last of three or four workers has no batch of its own."""
    manifest = load_manifest(alone.manifest)
    many = pd.concat([manifest[manifest["split"] == "train"]] * 4)
    runs = [Run(shutil.copytree(alone.path, tmp_path / name)) for name in ("run", "expected")]
    for run in runs:  # more than two batches of training images, the last one not full
        many.to_csv(run.manifest, index=False)
        write_json(run.config, {**read_json(run.config), "data": describe_data(many)})
    metrics = evaluate(runs[1], "train").metrics
    assert 64 < metrics["n"] < 96
    group = Group(["evaluate", RUN, "--split", "train"], tmp_path, WORKERS)
    assert group.finish()[0] == [0] * WORKERS, group.texts()
    results = [{file.name: file for file in run.evaluation("train").iterdir()} for run in runs]
    assert set(results[0]) == set(results[1])
    for name in ("predictions.csv", "confusion_matrix.csv", "metrics.json"):
        assert results[0][name].read_text() == results[1][name].read_text()

    tables = [tmp_path / "several.csv", tmp_path / "one.csv"]
    group = Group(["predict", RUN, *[str(images)] * 3, "--mirror", "--out", str(tables[0])], tmp_path, WORKERS)
    assert group.finish()[0] == [0] * WORKERS, group.texts()
    predict(PredictConfig(str(alone.path), (str(images),) * 3, out=str(tables[1]), mirror=True))
    assert tables[0].read_text() == tables[1].read_text()
    assert not any(other.path.exists() for other in group.runs[1:])
    for output in group.outputs[1:]:
        assert len(output.read_text().splitlines()) == 1, group.texts()


def test_what_the_chief_cannot_do_ends_all_workers(alone, images, tmp_path):
    shutil.copytree(alone.path, tmp_path / "run")
    group = Group(["predict", RUN, str(images), "--out", str(tmp_path)], tmp_path, 2)
    assert group.finish()[0] == [2, 2], group.texts()
    assert group.last_line(0).endswith("is a folder; name a file")
    assert group.last_line(1).startswith("error: another worker stopped")


def test_fewer_images_than_workers_give_the_figures_of_one_process(images, small, tmp_path):
    """With two images of two classes and three workers, none sees both classes, and one has no image of its own."""
    names = sorted(path.name for path in images.iterdir())[:2]
    files = [[f"{name}/{file.name}" for file in sorted((images / name).iterdir())[:3]] for name in names]
    rows = [
        (path, name, split)
        for name, paths in zip(names, files, strict=True)
        for path, split in zip(paths, ("train", "val", "test"), strict=True)
    ]
    table = shutil.copytree(images, tmp_path / "images") / "labels.csv"
    pd.DataFrame(rows, columns=["path", "label", "split"]).to_csv(table, index=False)
    options = f"--weights none --arch {small} --image-size 32 --batch-size 3 --precision float32 --epochs 2"
    options += " --use-all test"
    group = Group(["finetune", str(table), "--run", RUN, *options.split()], tmp_path, 3)
    assert group.finish()[0] == [0] * 3, group.texts()
    config = {"arch": small, "batch_size": 3, "epochs": 2, "precision": "float32", "use_all": "test"}
    one = finetune(small_config(table, tmp_path / "alone", **config))
    assert_same(group.runs[0], one)
    assert_same(group.runs[0].all, one.all)


class OneOfSeveral(Workers):
    """A worker whose sums contain only its own part."""

    def total(self, values):
        return values


def test_every_image_is_computed_once_by_unequal_parts_and_by_workers_without_any(images, tiny):
    rows = make_manifest(images, 0.2, 0.0, 0)
    trainer = build_trainer(plan_of(small_config(images, "run", arch=tiny), rows))
    trainer.plan.rows["val"] = trainer.plan.rows["val"][:5]
    means = Inference(keras.Sequential([keras.layers.GlobalAveragePooling2D()]))

    def outputs(workers):
        plan = replace(trainer.plan, devices=replace(trainer.plan.devices, workers=workers))
        plan.rows["val"] = trainer.plan.rows["val"]
        return replace(trainer, plan=plan).outputs(means, "val", "")

    parts = [outputs(OneOfSeveral(None, index, 4)) for index in range(4)]  # with 2, 2, 1 and 0 images
    np.testing.assert_array_equal(sum(parts), outputs(Workers()))


def test_a_cache_is_for_one_process(images, tmp_path):
    devices = SimpleNamespace(workers=Workers(None, 0, 2))
    plan = SimpleNamespace(config=small_config(images, "run", cache="ram"), devices=devices)
    with pytest.raises(UserError, match="--cache ram is for one process"):
        Trainer(plan, None, None).with_cache(tmp_path)


class Second(Workers):
    """A worker whose chief reports that its own split is "test"."""

    def from_chief(self, make):
        return {"split": "test"}


def test_a_worker_that_was_given_other_settings_than_the_chief_says_so():
    with pytest.raises(UserError, match="worker 2 was given split 'val', but the chief 'test'"):
        check_settings(Second(None, 1, 2), {"split": "val"})
