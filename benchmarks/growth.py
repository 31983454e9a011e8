"""Measures how time and memory of our networks grow with batch, image size and depth, on this machine's processor.

    python benchmarks/growth.py [--steps 3 --rounds 1]

The networks compute in float32. Each row is a process of its own, which runs inference first, so that the peak memory
after it is that of inference. The table shows the median step of each process and the median process of each row.
Multiply-adds are those of one image in convolutions and dense layers.
"""

import argparse
import json
import statistics
import sys

from implementations import CLASSES, inference_seconds, peak_mib, training_seconds
from turns import Variant, measure_in_turn

ARCH, SIZE, BATCH = "resnet50", 224, 8
# The growing quantity, with the rows of its table: architecture, image size, batch size.
TABLES = {
    "batch": [(ARCH, SIZE, batch) for batch in (1, 4, BATCH, 16, 32)],
    "image size": [(ARCH, size, BATCH) for size in (96, 160, SIZE, 320)],
    "depth": [(arch, SIZE, BATCH) for arch in ("resnet18", "resnet34", ARCH, "resnet101", "resnet152")],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only[0], *map(int, arguments.only[1:]), arguments.steps)))
        return
    points = dict.fromkeys(point for table in TABLES.values() for point in table)
    variants = {
        f"{arch}, {size} pixels, batch {batch}": Variant(
            (*sys.argv[1:], "--only", arch, str(size), str(batch)), {"TF_ENABLE_ONEDNN_OPTS": "1"}
        )
        for arch, size, batch in points
    }
    found = dict(zip(points, measure_in_turn(__file__, variants, arguments.rounds).values(), strict=True))
    for name, table in TABLES.items():
        print_growth(name, {point: found[point] for point in table})


def measure(arch: str, size: int, batch_size: int, steps: int) -> dict[str, float]:
    """Measures inference, then training, in this process."""
    sizes = arch, size, batch_size, steps
    inference = statistics.median(inference_seconds("ours", "float32", *sizes))
    inference_mib = peak_mib()
    training = statistics.median(training_seconds("ours", "float32", *sizes))
    return {
        "inference": inference / batch_size,
        "inference_mib": inference_mib,
        "training": training / batch_size,
        "peak_mib": peak_mib(),
    }


def print_growth(name: str, found: dict[tuple[str, int, int], list[dict[str, float]]]) -> None:
    """Prints a table in Markdown."""
    print(f"\nWith {name}:\n")
    print("| | multiply-adds | inference, ms an image | peak MiB | training, ms an image | peak MiB |")
    print("|---|---|---|---|---|---|")
    for (arch, size, batch_size), runs in found.items():
        cost = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        print(
            f"| {arch}, {size} pixels, batch {batch_size} | {multiply_adds_of(arch, size) / 1e9:.1f} G "
            f"| {1000 * cost['inference']:.1f} | {cost['inference_mib']:.0f} "
            f"| {1000 * cost['training']:.0f} | {cost['peak_mib']:.0f} |"
        )


def multiply_adds_of(arch: str, size: int) -> int:
    from resnet_tf.classifier import build_classifier
    from resnet_tf.statistics import multiply_adds

    return multiply_adds(build_classifier(arch, CLASSES, image_size=size))


if __name__ == "__main__":
    main()
