"""Patches Keras 3.15, which lacks support for `fit` over several workers (keras issue 20585, open)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras


@contextmanager
def mended_keras() -> Iterator[None]:
    """Makes `keras.Model.fit` work under `tf.distribute.MultiWorkerMirroredStrategy` inside the `with` block.

    tests/resnet_tf/test_workers.py fails when a newer Keras no longer needs this.
    """
    from keras.src.backend.tensorflow import trainer

    build, reduce = trainer.TensorFlowTrainer._maybe_symbolic_build, trainer.reduce_per_replica
    trainer.TensorFlowTrainer._maybe_symbolic_build = _build_from_local_batch(build)
    trainer.reduce_per_replica = _mean_of_scalars(reduce)
    try:
        yield
    finally:
        trainer.TensorFlowTrainer._maybe_symbolic_build = build
        trainer.reduce_per_replica = reduce


def _build_from_local_batch(original: Any) -> Any:
    """Lets Keras take the shapes of the first batch from one replica.

    Keras averages the first batch over all replicas to find its shapes, but passes on a PerReplica value. The shapes
    on one replica are the same.
    """

    def build(model: Any, iterator: Any = None, data_batch: Any = None) -> None:
        if iterator is not None:
            local = model.distribute_strategy.experimental_local_results
            for _, _, batches in iterator:
                data_batch = keras.tree.map_structure(lambda values: local(values)[0], next(batches))
                break
        original(model, data_batch=data_batch)

    return build


def _mean_of_scalars(original: Any) -> Any:
    """Averages a step's loss and metrics over the replicas; Keras averages over their axis 0, but they are scalars."""

    def reduce(values: Any, strategy: Any, reduction: str) -> Any:
        if reduction not in ("auto", "mean"):
            return original(values, strategy, reduction)
        return keras.tree.map_structure(lambda value: strategy.reduce("MEAN", value, axis=None), values)

    return reduce
