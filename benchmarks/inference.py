"""Measures images per second in inference with ResNet-50, on this machine's processor.

    python benchmarks/inference.py [--image-size 224 --batch-sizes 1 32 --steps 6 --rounds 3] [--emulate]

It compares keras.applications' `predict`, ours as `resnet-tf evaluate` runs it, and PyTorch's. Rows, processes and
medians are those of `benchmarks/train_step.py`. The time includes copying the results to NumPy.
"""

import argparse
import json
import statistics
import sys

from implementations import inference_seconds, peak_mib
from train_step import VARIANTS, rows
from turns import Variant, measure_in_turn, print_table

NAMES = {"keras.applications under fit": "keras.applications' predict"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--emulate", action="store_true", help="rows in bfloat16 on any processor")
    parser.add_argument("--only", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        network, precision, batch_size = arguments.only[0], arguments.only[1], int(arguments.only[2])
        sizes = arguments.image_size, batch_size, arguments.steps
        seconds = statistics.median(inference_seconds(network, precision, "resnet50", *sizes))
        print(json.dumps({"images_per_second": batch_size / seconds, "peak_mib": peak_mib()}))
        return
    print(f"ResNet-50, {arguments.image_size} pixels, {arguments.rounds} alternating runs")
    variants = rows(VARIANTS, arguments.emulate)
    for batch_size in arguments.batch_sizes:
        each = {
            NAMES.get(name, name): Variant(
                (*sys.argv[1:], "--only", *variant.words, str(batch_size)), variant.environment
            )
            for name, variant in variants.items()
        }
        print()
        print_table(f"inference, batch {batch_size}", measure_in_turn(__file__, each, arguments.rounds))


if __name__ == "__main__":
    main()
