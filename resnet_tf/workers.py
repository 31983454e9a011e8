"""The processes that work on one network together, on one or several machines, and their communication."""

import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from resnet_tf.cluster import Cluster, cluster_of
from resnet_tf.errors import UserError

STOPPED = (
    "another worker stopped, or cannot be reached; its own output says why; start all of them again with the same "
    "command, which continues a training"
)


@dataclass(frozen=True)
class Workers:
    """All workers, as one of them sees them.

    A method marked "Collective" must be called by all workers at the same point. TensorFlow provides the network
    connection and the sums. A process that works alone is a chief without other workers.

    Args:
        strategy: `tf.distribute.MultiWorkerMirroredStrategy`, or None for a process that works alone.
        index: Number of this worker; 0 is the chief, the only one that reads and writes the run.
        count: Number of workers.
    """

    strategy: Any = None
    index: int = 0
    count: int = 1

    @property
    def chief(self) -> bool:
        return self.index == 0

    @property
    def alone(self) -> bool:
        return self.count == 1

    def part(self, items: int, batch: int = 1) -> tuple[int, int]:
        """Returns begin and end of this worker's items; with few items, the last workers have none.

        Args:
            items: Number of items of all workers together.
            batch: Number of consecutive items that stay together.
        """
        size = -(-items // (self.count * batch)) * batch
        return min(items, self.index * size), min(items, (self.index + 1) * size)

    def part_of(self, rows: Any, batch: int = 1) -> Any:
        """Returns the rows that this worker computes.

        A worker without rows gets the first one, so that every worker knows the shape of the outputs.

        Args:
            rows: List, array or DataFrame with the rows of all workers.
            batch: Number of consecutive rows that stay together.
        """
        begin, end = self.part(len(rows), batch)
        return rows[begin:end] if begin < end else rows[:1]

    def together(self, values: np.ndarray, items: int, batch: int = 1) -> np.ndarray:
        """Collective: gathers the values that all workers have computed for their parts.

        Args:
            values: float32 [rows, …], values of the rows that `part_of` returns.
            items: Number of rows of all workers together.
            batch: Number of consecutive rows that stay together.

        Returns:
            float32 [items, …], in the order of the rows.
        """
        if self.alone:
            return values
        begin, end = self.part(items, batch)
        whole = np.zeros((items, *values.shape[1:]), np.float32)
        whole[begin:end] = values[: end - begin]
        return self.total(whole)

    def total(self, values: np.ndarray) -> np.ndarray:
        """Collective: returns the sum over all workers.

        Args:
            values: float32 or int64, of the same shape on all workers.
        """
        import tensorflow as tf

        return values if self.alone else self.strategy.reduce("SUM", tf.constant(values), axis=None).numpy()

    def arrays_from_chief(self, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Collective: returns the chief's arrays on all workers, bit for bit.

        Args:
            make: Function that makes the arrays; only the chief calls it.
        """
        if self.alone:
            return make()
        content = _packed(make()) if self.chief else b""
        size = int(self.total(np.array([len(content)], np.int64))[0])
        # The bytes are sent as a sum to which only the chief contributes.
        buffer = np.zeros(-(-size // 8), np.int64)
        buffer.view(np.uint8)[: len(content)] = np.frombuffer(content, np.uint8)
        return _unpacked(self.total(buffer).tobytes()[:size])

    def from_chief(self, make: Callable[[], Any]) -> Any:
        """Collective: returns the chief's value, which JSON can hold, on all workers; see `arrays_from_chief`."""
        if self.alone:
            return make()
        arrays = self.arrays_from_chief(lambda: {"json": np.frombuffer(json.dumps(make()).encode(), np.uint8)})
        return json.loads(arrays["json"].tobytes())

    def wait(self) -> None:
        """Collective: waits until all workers have reached this point."""
        self.total(np.zeros(1, np.int64))

    def distributed(self, stream: Any, batch_size: int) -> Any:
        """Divides a stream among the devices of this worker, as `keras.Model.fit` requires.

        Args:
            stream: `tf.data.Dataset` with only this worker's images of each batch.
            batch_size: Number of images per step, over all devices of all workers.
        """
        if self.alone:
            return stream
        images = batch_size // self.strategy.num_replicas_in_sync
        return self.strategy.distribute_datasets_from_function(lambda _: stream.rebatch(images))


@contextmanager
def joined(name: str) -> Iterator[Workers]:
    """Connects the workers of this command until all of them have ended.

    This must come before any computation of TensorFlow. Inside the `with` block, workers other than the chief print
    nothing to standard output.

    Args:
        name: Name of the strategy; "auto" and "multiworker" join the workers that the environment names.

    Raises:
        UserError: The environment names no workers for "multiworker"; or not all workers have connected within an hour;
            or, at the next collective operation, another worker has stopped. TensorFlow notices that at once if the
            connection breaks, and by missing heartbeats in half a minute.
    """
    cluster = cluster_of(name)
    if cluster is None:
        if name == "multiworker":
            raise UserError(
                "--strategy multiworker needs TF_CONFIG with several workers, or a Slurm step of several tasks"
            )
        yield Workers()
        return
    workers = _join(cluster)
    with _lost_peer_named(), nullcontext() if workers.chief else _silence():
        yield workers
        workers.wait()  # until the chief has written its last file
    # A worker that ends breaks a sum that others have not finished, even if it has contributed to the sum. Therefore no
    # worker ends before all have finished their work and reached this point, and only this last sum may break.
    with suppress(UserError), _lost_peer_named():
        workers.wait()


@cache
def _join(cluster: Cluster) -> Workers:
    """Connects to the other workers once per process, as TensorFlow requires.

    A second command of the same process uses the same connection.
    """
    import tensorflow as tf

    count = len(cluster.addresses)
    print(
        f"worker {cluster.index + 1} of {count}, {cluster.addresses[cluster.index]}: waits for the others; the chief "
        f"{cluster.addresses[0]} reports",
        flush=True,
    )
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
        task_type="worker",
        task_id=cluster.index,
        rpc_layer="grpc",
    )
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except tf.errors.DeadlineExceededError as error:
        raise UserError(f"not all {count} workers have come within an hour, TensorFlow's limit") from error
    return Workers(strategy, cluster.index, count)


@contextmanager
def _lost_peer_named() -> Iterator[None]:
    """Replaces TensorFlow's page of errors by one line if another worker has stopped.

    Raises:
        UserError: Another worker has stopped.
    """
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        if not _is_lost_peer(error):
            raise
        raise UserError(STOPPED) from error


@contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


def _is_lost_peer(error: Any) -> bool:
    import tensorflow as tf

    lost = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    )
    return isinstance(error, lost) or "Collective ops is aborted" in str(error)


def _packed(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def _unpacked(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def check_settings(workers: Workers, settings: dict[str, Any]) -> None:
    """Collective: checks that this worker's command has the same settings as the chief's.

    Args:
        workers: All workers.
        settings: Settings of this worker's command, as values that JSON can hold.

    Raises:
        UserError: The chief's settings differ.
    """
    of_chief = workers.from_chief(lambda: settings)
    for name, value in settings.items():
        theirs = of_chief.get(name)
        if theirs != value:
            raise UserError(f"worker {workers.index + 1} was given {name} {value!r}, but the chief {theirs!r}")
