"""Which devices compute, and in which precision."""

import platform
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

from resnet_tf.errors import UserError

# NVIDIA's Ampere is the first with bfloat16 matrix units.
_BFLOAT16_CAPABILITY = (8, 0)
_BFLOAT16_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}


def choose_strategy(name: str) -> Any:
    """A tf.distribute strategy, or None for one device.

    Args:
        name: "auto" is MirroredStrategy where there are GPUs, else one device; "one"; or "mirrored": all GPUs,
            or all logical CPU devices where there is none.

    Raises:
        UserError: The name is unknown.
    """
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    if name == "one" or (name == "auto" and not gpus):
        return None
    if name in ("auto", "mirrored"):
        devices = gpus or tf.config.list_logical_devices("CPU")
        return _mirrored(tuple(device.name for device in devices))
    raise UserError(f"the strategy must be auto, one or mirrored, received {name!r}")


@cache
def _mirrored(devices: tuple[str, ...]) -> Any:
    """One for all trainings of a process: a second one would number its collective operations from the start again,
    and TensorFlow, which remembers the shapes under these numbers, stops at the first that differs."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(devices)


def scope(strategy: Any) -> AbstractContextManager[Any]:
    """The scope in which variables belong to the strategy; none for one device."""
    return nullcontext() if strategy is None else strategy.scope()


def replicas(strategy: Any) -> int:
    """How many devices share a batch."""
    return 1 if strategy is None else strategy.num_replicas_in_sync


def local_replicas(strategy: Any) -> int:
    """How many of these belong to this process."""
    return 1 if strategy is None else len(strategy.extended.worker_devices)


def choose_precision(name: str) -> str:
    """ "auto" becomes "bfloat16" where the GPUs, or without any the processor, compute in it, else "float32"."""
    if name != "auto":
        return name
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capabilities = [tf.config.experimental.get_device_details(gpu).get("compute_capability") for gpu in gpus]
        fast = all(capability and capability >= _BFLOAT16_CAPABILITY for capability in capabilities)
    else:
        fast = bool(_BFLOAT16_CPU_FLAGS & _cpu_flags())
    return "bfloat16" if fast else "float32"


def _cpu_flags() -> set[str]:
    """What Linux says that the processor can do; elsewhere nothing is known, and float32 is always right."""
    if platform.system() != "Linux":
        return set()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("flags"):
            return set(line.split())
    return set()
