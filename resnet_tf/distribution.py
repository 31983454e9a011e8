"""Chooses the devices that compute, and the precision."""

import platform
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

from resnet_tf.errors import UserError

# Ampere is NVIDIA's first architecture with bfloat16 matrix units.
_BFLOAT16_CAPABILITY = (8, 0)
_BFLOAT16_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}


def choose_strategy(name: str) -> Any:
    """Returns a tf.distribute strategy, or None for one device.

    Args:
        name: Name of the strategy. "auto" is MirroredStrategy if there are several GPUs, otherwise one device, because
            a strategy of one device turns XLA and fast paths of optimizers off; "one" is one device; "mirrored" is
            MirroredStrategy over all GPUs, or over all logical CPU devices if there is no GPU.

    Raises:
        UserError: The name is unknown.
    """
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    if name == "one" or (name == "auto" and len(gpus) < 2):
        return None
    if name in ("auto", "mirrored"):
        devices = gpus or tf.config.list_logical_devices("CPU")
        return _mirrored(tuple(device.name for device in devices))
    raise UserError(f"the strategy must be auto, one or mirrored, received {name!r}")


@cache
def _mirrored(devices: tuple[str, ...]) -> Any:
    """Returns one strategy for all trainings of a process.

    A second strategy would number its collective operations from the start again. TensorFlow remembers the shapes
    under these numbers and stops at the first one that differs.
    """
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(devices)


def scope(strategy: Any) -> AbstractContextManager[Any]:
    """Returns the scope in which variables belong to the strategy; for one device, it does nothing."""
    return nullcontext() if strategy is None else strategy.scope()


def replicas(strategy: Any) -> int:
    """Returns the number of devices that share a batch."""
    return 1 if strategy is None else strategy.num_replicas_in_sync


def local_replicas(strategy: Any) -> int:
    """Returns the number of those devices that belong to this process."""
    return 1 if strategy is None else len(strategy.extended.worker_devices)


def choose_precision(name: str) -> str:
    """Returns the name of the precision, with "auto" replaced.

    "auto" becomes "bfloat16" if the GPUs, or the processor if there are none, compute in it; otherwise "float32".
    """
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
    """Returns the processor's features according to Linux, or an empty set on other systems, which leads to float32."""
    if platform.system() != "Linux":
        return set()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("flags"):
            return set(line.split())
    return set()
