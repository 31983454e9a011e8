"""Measures images per second of ResNet-50 on a GPU: ours on Keras's JAX backend, and PyTorch's, both in bfloat16.

    python benchmarks/gpu.py [--image-size 224 --batch-size 256 --steps 30 --rounds 3]

This needs JAX and PyTorch for the GPU in addition to requirements.txt (`pip install "jax[cuda12]"`). PyTorch runs with
channels last, autocast, TF32 for what stays in float32, with and without torch.compile. The images are on the device,
so neither side spends time on input. Ours are uint8, because the network normalizes them; PyTorch's are normalized
float32. Each measurement is a process of its own, the variants take turns, and medians are compared. After warm-up, the
time of all steps is measured from an idle device to an idle device. Peak memory is that of the device, as each
framework counts it.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from implementations import MOMENTUM, RATE, keras_model, noise, torch_network, torch_noise, torch_step
from turns import Variant, add_sizes, measure_in_turn, print_table

WARM_UP = 5
JAX: dict[str, str | None] = {"KERAS_BACKEND": "jax", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
VARIANTS = {
    "PyTorch": Variant(("torch",)),
    "PyTorch, torch.compile": Variant(("compiled",)),
    "resnet_tf on JAX": Variant(("jax",), JAX),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_sizes(parser, batch_size=256, steps=30)
    parser.add_argument("only", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        work, framework = arguments.only
        measure = measure_jax if framework == "jax" else measure_torch
        sizes = arguments.image_size, arguments.batch_size, arguments.steps
        seconds, peak = measure(work == "training", framework == "compiled", *sizes)
        print(json.dumps({"images_per_second": arguments.batch_size / seconds, "peak_mib": peak}))
        return
    print(f"ResNet-50, {arguments.image_size} pixels, batch {arguments.batch_size}, bfloat16, {arguments.rounds} runs")
    for work in ("training", "inference"):
        variants = {
            name: Variant((*sys.argv[1:], work, *variant.words), variant.environment)
            for name, variant in VARIANTS.items()
        }
        print()
        print_table(work, measure_in_turn(__file__, variants, arguments.rounds))


def measure_jax(training: bool, _: bool, size: int, batch_size: int, steps: int) -> tuple[float, float]:
    """Returns the seconds of a step and the peak memory in MiB of our network."""
    import jax
    import keras

    model = keras_model("ours", "bfloat16", "resnet50", size)
    images, labels = (jax.device_put(array) for array in noise("uint8", size, batch_size))
    if training:
        step = _jax_training_step(keras, jax, model, images, labels)
    else:
        state = [[v.value for v in group] for group in (model.trainable_variables, model.non_trainable_variables)]
        apply = jax.jit(lambda state, images: model.stateless_call(*state, images, training=False)[0])
        step = lambda: apply(state, images)  # noqa: E731
    seconds = _seconds(step, steps, lambda result: jax.block_until_ready(result))
    memory = jax.devices()[0].memory_stats() or {}  # a CPU has no statistics
    return seconds, memory.get("peak_bytes_in_use", 0) / 2**20


def _jax_training_step(keras: Any, jax: Any, model: Any, images: Any, labels: Any) -> Callable[[], Any]:
    """Returns the step that `fit` would make, but without data and metrics, which PyTorch's step lacks too."""
    optimizer = keras.optimizers.SGD(RATE, momentum=MOMENTUM)
    optimizer.build(model.trainable_variables)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def loss(trainable: Any, others: Any) -> tuple[Any, Any]:
        logits, others = model.stateless_call(trainable, others, images, training=True)
        return loss_of(labels, logits), others

    def step(state: Any) -> tuple[Any, Any]:
        trainable, others, slots = state
        (value, others), gradients = jax.value_and_grad(loss, has_aux=True)(trainable, others)
        trainable, slots = optimizer.stateless_apply(slots, gradients, trainable)
        return value, (trainable, others, slots)

    compiled = jax.jit(step, donate_argnums=0)
    groups = model.trainable_variables, model.non_trainable_variables, optimizer.variables
    state = tuple([variable.value for variable in group] for group in groups)

    def next_step() -> Any:
        nonlocal state
        value, state = compiled(state)
        return value, state

    return next_step


def measure_torch(training: bool, compiled: bool, size: int, batch_size: int, steps: int) -> tuple[float, float]:
    """Returns the seconds of a step and the peak memory in MiB of PyTorch's network."""
    import torch

    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    network = torch_network("resnet50").to(device).train(training)
    images, labels = (tensor.to(device) for tensor in torch_noise(size, batch_size))
    called = torch.compile(network) if compiled else network
    if training:
        step = torch_step(called, "bfloat16", images, labels)
    else:

        def step() -> Any:
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
                return called(images)

    seconds = _seconds(step, steps, lambda result: torch.cuda.synchronize() if on_gpu else None)
    return seconds, torch.cuda.max_memory_allocated() / 2**20 if on_gpu else 0.0


def _seconds(step: Callable[[], Any], steps: int, wait: Callable[[Any], Any]) -> float:
    """Returns the seconds of one step when many are in flight."""
    for _ in range(WARM_UP):
        result = step()
    wait(result)
    started = time.perf_counter()
    for _ in range(steps):
        result = step()
    wait(result)
    return (time.perf_counter() - started) / steps


if __name__ == "__main__":
    main()
