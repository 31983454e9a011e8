"""Times the steps of the same network in three implementations: keras.applications', ours and PyTorch's.

All have their strides on the 1 × 1 convolutions, like keras.applications. The images are noise, because the time does
not depend on them.
"""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # PyTorch's network is among the tests

import numpy as np

CLASSES, RATE, MOMENTUM = 30, 0.01, 0.9
WARM_UP = 2  # steps in which the graph is built and kernels are chosen
NETWORKS = ("keras", "ours", "torch")
# Arguments of PyTorch's class, which takes a table of blocks.
TORCH_BLOCKS = {"resnet18": ((2, 2, 2, 2), False), "resnet50": ((3, 4, 6, 3), True)}


def training_seconds(network: str, precision: str, arch: str, size: int, batch_size: int, steps: int) -> list[float]:
    """Trains with SGD and momentum on noise.

    Args:
        network: Name of the implementation, one of `NETWORKS`.
        precision: "float32", "bfloat16", or for ours also "auto".
        arch: Name of the architecture, "resnet50"; ours has others too.
        size: Height and width of the images, in pixels.
        batch_size: Number of images per step.
        steps: Number of timed steps, after `WARM_UP` untimed ones.

    Returns:
        Seconds of each step.
    """
    if network == "torch":
        return _torch_training(precision, arch, size, batch_size, steps)
    import keras

    from resnet_tf.optimizers import FusedSGD

    keras.utils.set_random_seed(0)
    model = keras_model(network, precision, arch, size)
    optimizer = (FusedSGD if network == "ours" else keras.optimizers.SGD)(RATE, momentum=MOMENTUM)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = noise(model.input.dtype, size, batch_size)
    clock = _step_clock()
    for count in (WARM_UP, steps):
        shown = np.tile(images, (count, 1, 1, 1)), np.tile(labels, count)
        model.fit(*shown, batch_size=batch_size, verbose=0, callbacks=[clock])
    return clock.seconds


def inference_seconds(network: str, precision: str, arch: str, size: int, batch_size: int, steps: int) -> list[float]:
    """Returns the seconds of each inference of a batch; arguments are those of `training_seconds`.

    Keras's network is run by `predict`, ours as `resnet-tf evaluate` runs it.
    """
    if network == "torch":
        return _torch_inference(precision, arch, size, batch_size, steps)
    model = keras_model(network, precision, arch, size)
    images, _ = noise(model.input.dtype, size, batch_size)
    if network == "keras":
        return _timed(lambda: model.predict(images, batch_size=batch_size, verbose=0), steps)
    from pipelines.evaluation.inference import Inference

    inference = Inference(model)
    return _timed(lambda: inference(images).numpy(), steps)


def keras_model(network: str, precision: str, arch: str, size: int) -> Any:
    """Returns keras.applications' ResNet-50 for normalized images, or our classifier for uint8 images.

    Our classifier has no biases before batch norms, because finetune builds it so.
    """
    import keras

    if network == "keras":
        keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
        return keras.applications.ResNet50(
            weights=None, input_shape=(size, size, 3), classes=CLASSES, classifier_activation=None
        )
    from resnet_tf.classifier import build_classifier
    from resnet_tf.distribution import choose_precision

    return build_classifier(arch, CLASSES, image_size=size, precision=choose_precision(precision))


def noise(dtype: str, size: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns images [batch, size, size, 3], in 0 … 255 or normalized, and labels [batch]."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, batch_size)
    if dtype == "uint8":
        return random.integers(0, 256, (batch_size, size, size, 3)).astype("uint8"), labels
    return random.normal(0, 1, (batch_size, size, size, 3)).astype("float32"), labels


def torch_network(arch: str) -> Any:
    """Returns PyTorch's network, with its channels last in memory."""
    import torch

    from tests.resnet_tf.torch_reference import ResNet

    torch.manual_seed(0)
    repeats, bottleneck = TORCH_BLOCKS[arch]
    return ResNet(repeats, bottleneck, CLASSES, stride_at="1x1").to(memory_format=torch.channels_last)


def torch_step(network: Any, precision: str, images: Any, labels: Any) -> Callable[[], Any]:
    """Returns a function that makes one step of training and can be called repeatedly.

    Args:
        network: PyTorch's network, on its device.
        precision: "float32", or "bfloat16" by autocast.
        images: [batch, 3, height, width], on the same device.
        labels: [batch], on the same device.
    """
    import torch

    optimizer = torch.optim.SGD(network.parameters(), RATE, momentum=MOMENTUM)

    def step() -> Any:
        optimizer.zero_grad()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = torch.nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def torch_noise(size: int, batch_size: int) -> tuple[Any, Any]:
    """Returns noise like `noise`: images [batch, 3, size, size], with channels last in memory, and labels [batch]."""
    import torch

    images, labels = noise("float32", size, batch_size)
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)


def peak_mib() -> float:
    """Returns the peak memory of this process, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _torch_training(precision: str, arch: str, size: int, batch_size: int, steps: int) -> list[float]:
    step = torch_step(torch_network(arch).train(), precision, *torch_noise(size, batch_size))
    return _timed(lambda: step().item(), steps)


def _torch_inference(precision: str, arch: str, size: int, batch_size: int, steps: int) -> list[float]:
    import torch

    network, (images, _) = torch_network(arch).eval(), torch_noise(size, batch_size)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        return _timed(lambda: network(images).sum().item(), steps)


def _timed(step: Callable[[], Any], steps: int) -> list[float]:
    seconds = []
    for _ in range(WARM_UP + steps):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return seconds[WARM_UP:]


def _step_clock() -> Any:
    """Returns a Keras callback that keeps the seconds of each step of the last `fit`.

    A step's time is counted from the end of the step before it; that of the first step, from its own beginning.
    """
    import keras

    class StepClock(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            self.seconds: list[float] = []

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 0:
                self.last = time.perf_counter()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            now = time.perf_counter()
            self.seconds.append(now - self.last)
            self.last = now

    return StepClock()
