"""Images per second in training: keras.applications' ResNet-50 against ours, on this machine.

    python benchmarks/train_step.py [--image-size 224 --batch-size 16 --steps 6 --rounds 3]

Each measurement is a process of its own, since TensorFlow reads its settings once; the variants take turns, and
medians are compared. Prints a table: images per second, the ratio to the first row, peak memory.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

# name: (whose network, TF_ENABLE_ONEDNN_OPTS or None for TensorFlow's own choice)
VARIANTS: dict[str, tuple[str, str | None]] = {
    "keras.applications, TensorFlow's defaults": ("keras", None),
    "keras.applications, oneDNN": ("keras", "1"),
    "resnet_tf, TensorFlow's defaults": ("ours", None),
    "resnet_tf, oneDNN (what resnet-tf sets)": ("ours", "1"),
}


def measure(network: str, size: int, batch_size: int, steps: int) -> dict[str, float]:
    """Trains on one random batch; the first two steps build the graph and are not counted."""
    import keras
    import numpy as np

    import resnet_tf

    keras.utils.set_random_seed(0)
    if network == "keras":
        model = keras.applications.ResNet50(
            weights=None, input_shape=(size, size, 3), classes=30, classifier_activation=None
        )
    else:
        model = resnet_tf.ResNet50(input_shape=(size, size, 3), classes=30)
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    random = np.random.default_rng(0)
    x = random.normal(0, 1, (batch_size, size, size, 3)).astype("float32")
    y = random.integers(0, 30, batch_size)
    for _ in range(2):
        model.train_on_batch(x, y)
    started = time.perf_counter()
    for _ in range(steps):
        model.train_on_batch(x, y)
    seconds = time.perf_counter() - started
    return {
        "images_per_second": steps * batch_size / seconds,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def run_variant(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    network, onednn = VARIANTS[name]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("TF_ENABLE_ONEDNN_OPTS", None)
    if onednn is not None:
        environment["TF_ENABLE_ONEDNN_OPTS"] = onednn
    command = [sys.executable, __file__, "--only", network, "--steps", str(arguments.steps)]
    command += ["--image-size", str(arguments.image_size), "--batch-size", str(arguments.batch_size)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("keras", "ours"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        found = measure(arguments.only, arguments.image_size, arguments.batch_size, arguments.steps)
        print(json.dumps(found))
        return
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    for _ in range(arguments.rounds):
        for name in VARIANTS:
            results[name].append(run_variant(name, arguments))
    print(
        f"ResNet-50, {arguments.image_size} pixels, batch {arguments.batch_size}, float32, "
        f"median of {arguments.rounds} alternating runs"
    )
    medians = {name: statistics.median(run["images_per_second"] for run in runs) for name, runs in results.items()}
    first = next(iter(medians.values()))
    for name, runs in results.items():
        peak = statistics.median(run["peak_mib"] for run in runs)
        print(f"{name:45s} {medians[name]:7.2f} images/s  {medians[name] / first:5.2f} x  {peak:6.0f} MiB")


if __name__ == "__main__":
    main()
