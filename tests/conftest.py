"""Fixtures that the tests share: small real images, a small file of weights, one finished run."""

import fcntl
import os
import shutil

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["KERAS_BACKEND"] = "tensorflow"

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import save_file
from tensorflow.python.framework import config as tf_config

import resnet_tf
from pipelines.config.finetune import FinetuneConfig
from pipelines.config.verbs import SampleConfig
from pipelines.console.no_telemetry import send_nothing
from pipelines.data.sample import draw_sample
from pipelines.finetune import finetune
from pipelines.runs.directory import Run
from pipelines.training.callback import TrainingCallback
from resnet_tf.architectures import ARCHITECTURES
from tests.networks import SMALL, TINY

# Two logical devices allow tests of MirroredStrategy without a GPU. They must be set before any computation.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

send_nothing()  # a test may import OpenVINO itself

# A shell makes its background jobs ignore SIGINT, and all processes of the tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

FILE = "model.safetensors"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True, scope="module")
def undetermined() -> Iterator[None]:
    """Turns determinism off after a module that has turned it on, for which TensorFlow has no public way."""
    yield
    tf_config.disable_op_determinism()


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Returns a folder that the first process of the tests makes for all of them.

    Args:
        tmp_path_factory: Pytest's own.
        name: Name of the folder.
        make: Function that makes the folder at a path.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            half = folder.with_suffix(".half")
            make(half)
            half.rename(folder)
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """Returns the folder of real data beside the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"the shared data are not at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder of three classes with ten drawn images each, which tests must not change."""

    def draw(folder: Path) -> None:
        draw_sample(SampleConfig(str(folder / "images"), classes=3, per_class=10, size=48))

    return made_once(tmp_path_factory, "data", draw) / "images"


@pytest.fixture(scope="session")
def torch_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the weights of a whole ResNet-18, random numbers in torchvision's names."""

    def write(folder: Path) -> None:
        keras.utils.set_random_seed(1)
        folder.mkdir()
        tensors = torch_tensors(resnet_tf.ResNet18(classes=10, input_shape=(64, 64, 3)))
        save_file(tensors, folder / FILE)

    return made_once(tmp_path_factory, "resnet18", write) / FILE


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """Returns the name of a network of four layers."""
    monkeypatch.setitem(ARCHITECTURES, TINY.name, TINY)
    return TINY.name


@pytest.fixture(scope="module")
def small() -> Iterator[str]:
    """Yields the name of a network with all stages, which processes of `tests.pipelines.processes` know as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, SMALL.name, SMALL)
        yield SMALL.name


@pytest.fixture(scope="module")
def small_weights(tmp_path_factory: pytest.TempPathFactory, small: str) -> Path:
    """Returns the weights of the whole small network, random numbers in torchvision's names."""

    def write(folder: Path) -> None:
        keras.utils.set_random_seed(0)
        folder.mkdir()
        save_file(torch_tensors(resnet_tf.build(small, classes=10, input_shape=(64, 64, 3))), folder / FILE)

    return made_once(tmp_path_factory, "small", write) / FILE


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, images: Path, small: str, small_weights: Path) -> Run:
    """Returns a run that trained the head and one epoch of all layers, which tests must not change."""

    def train(folder: Path) -> None:
        finetune(small_config(images, folder, arch=small, weights=str(small_weights)))

    run = tmp_path_factory.mktemp("runs") / "finished"
    shutil.copytree(made_once(tmp_path_factory, "finished", train), run)  # each process evaluates its own
    return Run(run)


def small_config(data: Path, run: Path, **settings: object) -> FinetuneConfig:
    """Returns the settings of the smallest possible training, in which nothing is left for a look to decide."""
    defaults: dict = {"arch": "resnet18", "image_size": 32, "epochs": 1, "batch_size": 8, "weights": "none"}
    defaults["view"] = "crop"
    return FinetuneConfig(data=str(data), run=str(run), **{**defaults, **settings})


@contextmanager
def cut_off_before_epoch(number: int) -> Iterator[None]:
    """Within it, a training gets KeyboardInterrupt where an epoch, counted from 0, would begin."""
    original = TrainingCallback.on_epoch_begin

    def cut(self: TrainingCallback, epoch: int, logs: object = None) -> None:
        if epoch == number:
            raise KeyboardInterrupt
        original(self, epoch, logs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingCallback, "on_epoch_begin", cut)
        with pytest.raises(KeyboardInterrupt):
            yield


@contextmanager
def without_values() -> Iterator[None]:
    """Within it, networks are built whose variables have shapes alone: most of the time of a build goes to values."""
    with keras.StatelessScope(initialize_variables=False):
        yield
    # The next layer that is built would give them values after all.
    keras.src.backend.common.global_state.set_global_attribute("uninitialized_variables", [])


def torch_tensors(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns the model's variables in torchvision's names and axes, by a different way than the package's code."""
    tensors = {}
    for layer in model.layers:
        for variable in layer.weights:
            value = np.asarray(variable)
            if value.ndim == 4:
                value = np.moveaxis(value, [3, 2], [0, 1])
            elif value.ndim == 2:
                value = value.T
            tensors[f"{_torch_module(layer.name)}.{_TORCH_VARIABLES[variable.name]}"] = np.ascontiguousarray(value)
    return tensors


_TORCH_VARIABLES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def _torch_module(layer: str) -> str:
    if layer == "predictions":
        return "fc"
    if layer.startswith("conv1_"):
        return {"conv": "conv1", "bn": "bn1"}[layer.removeprefix("conv1_")]
    stage, block, number, kind = layer.removeprefix("conv").replace("block", "").split("_")
    prefix = f"layer{int(stage) - 1}.{int(block) - 1}"
    if number == "0":
        return f"{prefix}.downsample.{'0' if kind == 'conv' else '1'}"
    return f"{prefix}.{kind}{number}"


def randomize(model: keras.Model, seed: int = 0) -> None:
    """Sets all variables, also moving statistics and biases, to random values that keep the signal in a sound range."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        for variable in layer.weights:
            shape = tuple(variable.shape)
            if variable.name in ("gamma", "moving_variance"):
                value = random.uniform(0.5, 1.5, shape)
            elif variable.name == "kernel":
                value = random.normal(0, np.sqrt(2.0 / np.prod(shape[:-1])), shape)
            else:
                value = random.normal(0, 0.1, shape)
            variable.assign(value.astype("float32"))


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Returns the largest difference divided by the largest value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())
