"""Finding several machines, and what Keras lacks for them; tests/pipelines/test_workers.py trains on several."""

import json
import socket
from contextlib import nullcontext
from multiprocessing import get_context

import numpy as np
import pytest
import tensorflow as tf

from resnet_tf.cluster import Cluster, expand_hosts, expand_tasks, find_cluster
from resnet_tf.errors import UserError
from resnet_tf.workers import Workers, joined

SLURM = {
    "SLURM_JOB_ID": "1000000",
    "SLURM_STEP_NUM_TASKS": "3",
    "SLURM_STEP_NODELIST": "n[9-10]",
    "SLURM_STEP_TASKS_PER_NODE": "2,1",
    "SLURM_PROCID": "2",
    "SLURM_NODEID": "1",
}


def tf_config(cluster, kind="worker", index=0):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def test_tf_config_names_the_workers():
    assert find_cluster(tf_config({"worker": ["a:1", "b:1"]}, index=1)) == Cluster(("a:1", "b:1"), 1)
    assert find_cluster({**SLURM, **tf_config({"worker": ["a:1", "b:1"]})}) == Cluster(("a:1", "b:1"), 0)


def test_a_chief_goes_before_the_workers():
    jobs = {"worker": ["b:1", "c:1"], "chief": ["a:1"]}
    assert find_cluster(tf_config(jobs, "chief")) == Cluster(("a:1", "b:1", "c:1"), 0)
    assert find_cluster(tf_config(jobs, "worker", 1)) == Cluster(("a:1", "b:1", "c:1"), 2)


@pytest.mark.parametrize("environment", [{}, {"TF_CONFIG": ""}, {"SLURM_STEP_NUM_TASKS": "1"}, {"SLURM_NTASKS": "4"}])
def test_an_environment_of_one_process_names_none(environment):
    assert find_cluster(environment) is None
    assert find_cluster({**environment, **tf_config({"worker": ["a:1"]})}) is None


@pytest.mark.parametrize(
    "text",
    [
        "two machines",
        "[]",
        '{"cluster": {"worker": ["a:1", "b:1"]}}',
        tf_config({"worker": ["a:1", "b:1"]}, index=2)["TF_CONFIG"],
        tf_config({"worker": ["a:1", "b:1"], "ps": ["c:1"]})["TF_CONFIG"],
        tf_config({"worker": ["a:1", "b:1"]}, kind="evaluator")["TF_CONFIG"],
    ],
)
def test_a_tf_config_that_cannot_be_understood_is_quoted(text):
    with pytest.raises(UserError, match=r"TF_CONFIG must be .* received"):
        find_cluster({"TF_CONFIG": text})


def test_slurm_ranks_follow_its_order_of_nodes():
    addresses = find_cluster(SLURM).addresses
    assert [address.partition(":")[0] for address in addresses] == ["n9", "n9", "n10"]
    ports = [int(address.partition(":")[2]) for address in addresses]
    assert ports[1] == ports[0] + 1
    assert ports[2] == ports[0]
    neighbour = find_cluster({**SLURM, "SLURM_JOB_ID": "1000001"}).addresses
    assert not set(neighbour) & set(addresses)


def test_a_slurm_step_that_is_laid_out_otherwise_is_named():
    with pytest.raises(UserError, match="--distribution=block"):
        find_cluster({**SLURM, "SLURM_PROCID": "1"})
    with pytest.raises(UserError, match="SLURM_NODEID is not set; start them with srun"):
        find_cluster({name: value for name, value in SLURM.items() if name != "SLURM_NODEID"})


def test_slurms_lists():
    assert expand_hosts("gpu[01-03,7],login,a[1-2]b") == ["gpu01", "gpu02", "gpu03", "gpu7", "login", "a1b", "a2b"]
    assert expand_tasks("2(x3),1") == [2, 2, 2, 1]
    with pytest.raises(UserError, match="list of nodes"):
        expand_hosts("gpu[01-x]")


def test_multiworker_without_workers_is_an_error(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UserError, match="--strategy multiworker needs TF_CONFIG"), joined("multiworker"):
        pass


def test_workers_that_do_not_come_are_not_waited_for_any_more(monkeypatch):
    def give_up(**arguments):
        raise tf.errors.DeadlineExceededError(None, None, "Barrier timed out. Id: WaitForAllTasks")

    monkeypatch.setenv("TF_CONFIG", tf_config({"worker": ["a:1", "b:1"]})["TF_CONFIG"])
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", give_up)
    with pytest.raises(UserError, match="not all 2 workers have come within an hour"), joined("auto"):
        pass


class Strategy:
    """A strategy whose n-th sum fails, as if another worker has gone."""

    def __init__(self, failing):
        self.failing, self.sums = failing, 0

    def reduce(self, operation, value, axis):
        self.sums += 1
        if self.sums == self.failing:
            raise tf.errors.UnavailableError(None, None, "the other one has gone")
        return value


@pytest.mark.parametrize("index", [0, 1])
def test_who_ends_first_breaks_nothing_that_another_still_needs(monkeypatch, index):
    """A worker that has finished may be gone before another has received the last sum."""
    monkeypatch.setenv("TF_CONFIG", tf_config({"worker": ["a:1", "b:1"]}, index=index)["TF_CONFIG"])
    for failing, lost in ((1, True), (2, True), (3, False)):  # the sum during the work, before the end, at the end
        workers = Workers(Strategy(failing), index, 2)
        monkeypatch.setattr("resnet_tf.workers._join", lambda cluster, workers=workers: workers)
        with pytest.raises(UserError, match="another worker stopped") if lost else nullcontext(), joined("auto"):
            workers.total(np.ones(1, np.int64))
        assert workers.strategy.sums == failing


@pytest.mark.parametrize(
    ("items", "count", "batch"),
    [(0, 2, 1), (1, 4, 1), (5, 4, 1), (6, 4, 1), (8, 4, 1), (9, 2, 1), (9, 2, 4), (70, 3, 32)],
)
def test_each_item_is_of_one_worker(items, count, batch):
    workers = [Workers(None, index, count) for index in range(count)]
    parts = [range(*each.part(items, batch)) for each in workers]
    assert [item for part in parts for item in part] == list(range(items))
    assert len(parts[0]) == max(len(part) for part in parts)
    assert all(part.start % batch == 0 for part in parts if part)
    if items:
        assert [list(each.part_of(range(items), batch)) for each in workers] == [list(part) or [0] for part in parts]


def test_keras_needs_both_mendings():
    """If one of the first three fits no longer fails, a part of resnet_tf/keras_mending.py can be removed."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["pipelines.finetune"])
    receiver, sender = context.Pipe(duplex=False)
    sockets = [socket.create_server(("localhost", 0)) for _ in range(2)]
    addresses = tuple(f"localhost:{each.getsockname()[1]}" for each in sockets)
    for each in sockets:
        each.close()
    processes = [context.Process(target=_fit, args=(Cluster(addresses, index), sender)) for index in range(2)]
    for process in processes:
        process.start()
    losses = receiver.recv()
    for process in processes:
        process.join()
    assert [type(loss) for loss in losses] == [str, str, str, float], losses
    assert losses[-1] == pytest.approx(np.log(2), abs=1e-5)


def _fit(cluster, sender):
    """Fits without the mendings, with each, and with both; the chief sends the loss of a step or the error of each."""
    import keras
    import tensorflow as tf

    from resnet_tf import keras_mending
    from resnet_tf.workers import _join

    workers = _join(cluster)
    batch = np.ones((2, 3), np.float32), np.zeros(2, np.int32)
    losses = []
    for build, mean in ((False, False), (True, False), (False, True), (True, True)):
        with pytest.MonkeyPatch.context() as patch:
            for name, mended in (("_build_from_local_batch", build), ("_mean_of_scalars", mean)):
                if not mended:
                    patch.setattr(keras_mending, name, lambda original: original)
            with workers.strategy.scope():
                model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, kernel_initializer="zeros")])
                model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            stream = workers.distributed(tf.data.Dataset.from_tensors(batch).repeat(), 4)
            try:
                with keras_mending.mended_keras():
                    losses.append(float(model.fit(stream, steps_per_epoch=1, verbose=0).history["loss"][0]))
            except Exception as error:
                losses.append(f"{type(error).__name__}: {error}")
    if workers.chief:
        sender.send(losses)
    workers.wait()
