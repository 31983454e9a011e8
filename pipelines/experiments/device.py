"""The device that an experiment runs on, and durations, in words."""

import os
import platform
from pathlib import Path

import keras


def duration(seconds: float) -> str:
    """Returns a duration in words, such as "12 minutes"."""
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def on_accelerator() -> bool:
    """Whether Keras computes on JAX and JAX on something else than a processor."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    return bool(jax.devices()[0].platform != "cpu")


def device_name() -> str:
    """Returns the name of the device that Keras computes on."""
    if keras.backend.backend() == "jax":
        import jax

        device = jax.devices()[0]
        return str(device.device_kind) if device.platform != "cpu" else processor_name()
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    if not found:
        return processor_name()
    return str(tf.config.experimental.get_device_details(found[0]).get("device_name", "GPU"))


def processor_name() -> str:
    """Returns how many cores of which processor this process may use."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(os.sched_getaffinity(0))} cores of {names[0] if names else platform.processor() or 'a processor'}"
