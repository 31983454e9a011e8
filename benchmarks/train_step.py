"""Measures images per second in training ResNet-50, on this machine's processor.

    python benchmarks/train_step.py [--image-size 224 --batch-size 16 --steps 4 --rounds 3] [--emulate]

It compares keras.applications' under `fit`, ours, and PyTorch's. Each measurement is a process of its own, and the
variants take turns. The figures are those of the median step of a process and of the median process of a variant. A
ratio is the median of the ratios to the first row's process of the same round. Rows in bfloat16 are left out on a
processor without bfloat16 units, where they are emulated and very slow; --emulate measures them nevertheless. PyTorch's
rows are left out if it is not installed (`make torch`).
"""

import argparse
import importlib.util
import json
import statistics
import sys

from implementations import peak_mib, training_seconds
from turns import Variant, add_sizes, measure_in_turn, print_table

DEFAULTS: dict[str, str | None] = {"TF_ENABLE_ONEDNN_OPTS": None}  # TensorFlow chooses according to the processor
ONEDNN: dict[str, str | None] = {"TF_ENABLE_ONEDNN_OPTS": "1"}  # the setting of resnet-tf
VARIANTS = {
    "keras.applications under fit": Variant(("keras", "float32"), DEFAULTS),
    "the same, mixed bfloat16": Variant(("keras", "bfloat16"), DEFAULTS),
    "the same in float32, oneDNN": Variant(("keras", "float32"), ONEDNN),
    "resnet_tf, float32": Variant(("ours", "float32"), ONEDNN),
    "resnet_tf, --precision auto": Variant(("ours", "auto"), ONEDNN),
    "PyTorch, channels last, float32": Variant(("torch", "float32")),
    "PyTorch, channels last, autocast bfloat16": Variant(("torch", "bfloat16")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_sizes(parser, batch_size=16, steps=4)
    parser.add_argument("--emulate", action="store_true", help="rows in bfloat16 on any processor")
    parser.add_argument("only", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        network, precision = arguments.only
        sizes = arguments.image_size, arguments.batch_size, arguments.steps
        seconds = statistics.median(training_seconds(network, precision, "resnet50", *sizes))
        print(json.dumps({"images_per_second": arguments.batch_size / seconds, "peak_mib": peak_mib()}))
        return
    options = sys.argv[1:]
    variants = {
        name: Variant((*options, *variant.words), variant.environment)
        for name, variant in rows(VARIANTS, arguments.emulate).items()
    }
    print(
        f"ResNet-50, {arguments.image_size} pixels, batch {arguments.batch_size}, {arguments.rounds} alternating runs\n"
    )
    print_table("training", measure_in_turn(__file__, variants, arguments.rounds))


def rows(variants: dict[str, Variant], emulate: bool) -> dict[str, Variant]:
    """Returns the variants that this machine can measure, and says why others are left out."""
    from resnet_tf.distribution import choose_precision

    names = set(variants)
    if not emulate and choose_precision("auto") != "bfloat16":
        print("no bfloat16 units: --precision auto is float32 here, and the rows in bfloat16 are left out (--emulate)")
        names -= {name for name in names if {"bfloat16", "auto"} & set(variants[name].words)}
    if importlib.util.find_spec("torch") is None:
        print("no PyTorch: its rows are left out")
        names -= {name for name in names if "torch" in variants[name].words}
    return {name: variant for name, variant in variants.items() if name in names}


if __name__ == "__main__":
    main()
