"""The processes that work on one network together, on one machine or several, and what they tell each other."""

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
    """All workers, as one of them sees them. What all of them must call at the same point is marked "collective"; the
    network connection and the sums are TensorFlow's. A process that is alone is a chief without others.

    Args:
        strategy: `tf.distribute.MultiWorkerMirroredStrategy`, None for a process alone.
        index: Of this one; 0 is the chief, the only one that reads and writes the run.
        count: How many there are.
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
        """Begin and end of the items that are this worker's; where there are few, the last workers have none.

        Args:
            items: How many all have.
            batch: As many in a row stay together.
        """
        size = -(-items // (self.count * batch)) * batch
        return min(items, self.index * size), min(items, (self.index + 1) * size)

    def part_of(self, rows: Any, batch: int = 1) -> Any:
        """The rows that this worker computes; one where it has none, so that the outputs' shape is known everywhere.

        Args:
            rows: A list, an array or a DataFrame.
            batch: As for `part`.
        """
        begin, end = self.part(len(rows), batch)
        return rows[begin:end] if begin < end else rows[:1]

    def together(self, values: np.ndarray, items: int, batch: int = 1) -> np.ndarray:
        """Collective: what all have computed of their parts.

        Args:
            values: float32 [rows, …], of the rows that `part_of` gives.
            items: How many rows all have.
            batch: As for `part`.

        Returns:
            float32 [items, …], in order.
        """
        if self.alone:
            return values
        begin, end = self.part(items, batch)
        whole = np.zeros((items, *values.shape[1:]), np.float32)
        whole[begin:end] = values[: end - begin]
        return self.total(whole)

    def total(self, values: np.ndarray) -> np.ndarray:
        """Collective: the sum over all workers.

        Args:
            values: float32 or int64, the same shape everywhere.
        """
        import tensorflow as tf

        return values if self.alone else self.strategy.reduce("SUM", tf.constant(values), axis=None).numpy()

    def arrays_from_chief(self, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Collective: what the chief makes, bit for bit, on all workers.

        Args:
            make: Called on the chief alone.
        """
        if self.alone:
            return make()
        content = _packed(make()) if self.chief else b""
        size = int(self.total(np.array([len(content)], np.int64))[0])
        # Bytes travel as a sum to which only the chief contributes.
        buffer = np.zeros(-(-size // 8), np.int64)
        buffer.view(np.uint8)[: len(content)] = np.frombuffer(content, np.uint8)
        return _unpacked(self.total(buffer).tobytes()[:size])

    def from_chief(self, make: Callable[[], Any]) -> Any:
        """Collective: as `arrays_from_chief`, for what JSON can hold."""
        if self.alone:
            return make()
        arrays = self.arrays_from_chief(lambda: {"json": np.frombuffer(json.dumps(make()).encode(), np.uint8)})
        return json.loads(arrays["json"].tobytes())

    def wait(self) -> None:
        """Collective: goes on when all have come here."""
        self.total(np.zeros(1, np.int64))

    def distributed(self, stream: Any, batch_size: int) -> Any:
        """What `keras.Model.fit` wants of a `tf.data.Dataset`: divided among the devices of this worker.

        Args:
            stream: Gives of each batch the images of this worker alone.
            batch_size: Images per step, over all devices of all workers.
        """
        if self.alone:
            return stream
        images = batch_size // self.strategy.num_replicas_in_sync
        return self.strategy.distribute_datasets_from_function(lambda _: stream.rebatch(images))


@contextmanager
def joined(name: str) -> Iterator[Workers]:
    """The workers of this command, from the first connection to the end of all of them. Must come before any
    computation of TensorFlow. Inside, all but the chief print nothing to standard output.

    Args:
        name: The strategy: "auto" and "multiworker" join the workers that the environment names.

    Raises:
        UserError: The environment names none for "multiworker"; or not all have come within an hour; or, at the next
            collective, another worker has stopped. TensorFlow notices that at once where the connection breaks, and by
            missing heartbeats in half a minute.
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
        workers.wait()  # the chief's last file is written
    # A worker that ends breaks a sum that others have not finished, though it has contributed to it. So nobody ends
    # before all have come here with their work done, and this last sum alone may break.
    with suppress(UserError), _lost_peer_named():
        workers.wait()


@cache
def _join(cluster: Cluster) -> Workers:
    """Once in a process, as TensorFlow has it; a second command of the same process finds the others there."""
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
    """Says in one line that a worker has stopped, where TensorFlow has a page.

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
    """Collective.

    Args:
        workers: All of them.
        settings: Of this worker's command, as JSON has them.

    Raises:
        UserError: The chief was given others.
    """
    of_chief = workers.from_chief(lambda: settings)
    for name, value in settings.items():
        theirs = of_chief.get(name)
        if theirs != value:
            raise UserError(f"worker {workers.index + 1} was given {name} {value!r}, but the chief {theirs!r}")
