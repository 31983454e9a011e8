"""doctor: says what this machine has, and how fast it is, so that it can be pasted into an issue."""

import os
import platform
import shutil
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipelines.config.first_steps import DoctorConfig
from pipelines.config.shared import RUNS
from pipelines.console.quiet import import_tensorflow
from pipelines.console.terminal import answer
from pipelines.images.free_space import available_memory
from resnet_tf import __version__

_PACKAGES = ("tensorflow", "keras", "numpy", "pillow", "scikit-learn", "pandas", "safetensors")
# What an extra is for, by the package that says whether it is there.
_EXTRAS = {
    "huggingface_hub": "--weights hf:… and timm:…, push; pip install 'resnet-tf[hub]'",
    "pillow_heif": "HEIC photos; pip install 'resnet-tf[heic]'",
    "pyarrow": "predict --out FILE.parquet; pip install 'resnet-tf[parquet]'",
    "onnxruntime": "export --format onnx; pip install 'resnet-tf[export]'",
    "openvino": "export --format openvino; pip install 'resnet-tf[export]'",
    "nncf": "OpenVINO files with --precision int8; pip install 'resnet-tf[export]'",
    "ai_edge_litert": "export --format litert; pip install 'resnet-tf[export]'",
    "mlflow": "--track mlflow; pip install 'resnet-tf[track]'",
    "wandb": "--track wandb; pip install 'resnet-tf[track]'",
}
# docs/performance.md, ResNet-50 at 224 pixels, images/s on two cores: (training with batch 16, inference with 32).
_LISTED = {"float32": ("Zen 3, two cores", 5.34, 21.84), "bfloat16": ("Zen 4, two cores", 11.60, 40.07)}
_ARCHITECTURE, _SIZE = "resnet50", 224


def doctor(config: DoctorConfig) -> dict[str, Any]:
    """Looks at this machine, and prints what it has.

    Args:
        config: How long the speed test takes.

    Returns:
        What was found, as --json prints it.
    """
    found: dict[str, Any] = {
        "resnet-tf": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    found["packages"] = {name: _version(name) for name in _PACKAGES}
    found["extras"] = {name: find_spec(name) is not None for name in _EXTRAS}
    found["processor"] = {"name": _processor(), "cores": len(os.sched_getaffinity(0))} if _linux() else {}
    found["memory_gb"] = round(available_memory() / 1e9, 1)
    found["disk_gb"] = {RUNS: round(shutil.disk_usage(_existing(Path(RUNS))).free / 1e9, 1)}
    import_tensorflow()
    found["devices"] = _devices()
    if config.seconds:
        found["speed"] = _speed(config.seconds, found["devices"]["precision"])
    answer(_text(found))
    return found


def _devices() -> dict[str, Any]:
    """Returns what TensorFlow computes on, and why it sees no GPU if there is none."""
    import tensorflow as tf

    from resnet_tf.distribution import choose_precision

    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    precision = choose_precision("auto")
    return {
        "gpus": [str(each.get("device_name", "a GPU")) for each in details],
        "why_no_gpu": "" if gpus else _why_no_gpu(tf.test.is_built_with_cuda()),
        "bfloat16": precision == "bfloat16",
        "precision": precision,
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0",
    }


def _why_no_gpu(built_with_cuda: bool) -> str:
    """Returns why TensorFlow sees no GPU, and what to do about it."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides all GPUs; unset it"
    if platform.system() != "Linux":
        return f"TensorFlow has no GPU support on {platform.system()}; use Linux, or WSL 2 on Windows"
    if not Path("/proc/driver/nvidia").exists() and shutil.which("nvidia-smi") is None:
        return "there is no NVIDIA driver; if there is a GPU, install its driver (in a container: --gpus all)"
    if not built_with_cuda:
        return "this TensorFlow was built without CUDA; pip install 'tensorflow[and-cuda]'"
    if find_spec("nvidia") is None:
        return "the CUDA libraries are missing; pip install 'resnet-tf[gpu]', or -r requirements-gpu.txt"
    return "there are a driver and CUDA libraries, but they do not fit each other; compare nvidia-smi's CUDA version"


def _speed(seconds: float, precision: str) -> dict[str, Any]:
    """Returns how many images a second ResNet-50 trains on and names, beside what docs/performance.md lists.

    Args:
        seconds: Time for both, without the start.
        precision: Precision of the computation.
    """
    import keras
    import tensorflow as tf

    from resnet_tf.classifier import build_classifier

    model = build_classifier(_ARCHITECTURE, 1000, image_size=_SIZE, precision=precision)
    model.compile(keras.optimizers.SGD(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    named = tf.function(lambda images: model(images, training=False))
    images = {batch: tf.zeros((batch, _SIZE, _SIZE, 3), tf.uint8) for batch in (16, 32)}
    training = _rate(lambda: model.train_on_batch(images[16], tf.zeros(16, tf.int32)), 16, 0.6 * seconds)
    inference = _rate(lambda: named(images[32]).numpy(), 32, 0.4 * seconds)
    machine, listed_training, listed_inference = _LISTED[precision]
    return {
        "network": f"{_ARCHITECTURE} at {_SIZE} pixels, {precision}",
        "training": round(training, 2),
        "inference": round(inference, 2),
        "listed": {"machine": machine, "training": listed_training, "inference": listed_inference},
    }


def _rate(step: Any, batch: int, seconds: float) -> float:
    """Returns images a second, from whole steps; the first one, which builds a graph, does not count."""
    step()
    began, steps = time.monotonic(), 0
    while time.monotonic() - began < seconds or not steps:
        step()
        steps += 1
    return batch * steps / (time.monotonic() - began)


def _text(found: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {number or 'missing'}" for name, number in found["packages"].items())
    devices, processor = found["devices"], found["processor"]
    gpus = ", ".join(devices["gpus"]) or f"none: {devices['why_no_gpu']}"
    lines = [
        f"resnet-tf   {found['resnet-tf']}, Python {found['python']}, {found['system']}",
        f"packages    {packages}",
        f"processor   {processor.get('name', '')}, {processor.get('cores', '')} cores" if processor else "",
        f"GPU         {gpus}",
        f"bfloat16    {'yes' if devices['bfloat16'] else 'no, so that --precision auto is float32'}",
        f"oneDNN      {'on' if devices['onednn'] else 'off, by TF_ENABLE_ONEDNN_OPTS=0'}",
        f"memory      {found['memory_gb']} GB available",
        *(f"disk        {free} GB free for {folder}" for folder, free in found["disk_gb"].items()),
        *(
            f"extra       {name}: {'installed' if there else f'not installed ({_EXTRAS[name]})'}"
            for name, there in found["extras"].items()
        ),
    ]
    if speed := found.get("speed"):
        listed = speed["listed"]
        lines.append(
            f"speed       {speed['network']}: training {speed['training']:.2f} images/s "
            f"(listed {listed['training']:.2f}), inference {speed['inference']:.2f} "
            f"(listed {listed['inference']:.2f}; {listed['machine']})"
        )
    return "\n".join(line for line in lines if line)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _linux() -> bool:
    return platform.system() == "Linux"


def _existing(folder: Path) -> Path:
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
