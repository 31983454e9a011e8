"""Measures what `finetune --cache` saves: images per second of an epoch without it, and of a later epoch with it.

    python benchmarks/cache.py [--rounds 3 --seconds 3]

The pictures are those of benchmarks/input_stream.py, JPEG files of 500 × 375 and of 4000 × 3000 pixels, and the smaller
ones as PNG, which TensorFlow decodes, and as WebP, which needs Pillow. They are cropped randomly to 224 pixels and
flipped, without a network. Rounds alternate, and medians are compared. Filling the cache is not timed; it decodes every
whole picture once.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PIL import Image

from benchmarks.input_stream import BATCH, SIZE, draw, images_per_second
from pipelines.data.manifest import class_names, make_manifest
from pipelines.images.cache import open_cache
from pipelines.images.stream import Cached, ImageSource, InputSpec, Order, training_stream

SMALL = "500x375"
COPIES = {"png": 64, "webp": 64}
PLACES = ("none", "ram", "disk")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        draw(folder)
        convert(folder)
        kinds = [SMALL, *(f"{SMALL}_{ending}" for ending in COPIES), "4000x3000"]
        lines = [compare(folder, name, arguments.rounds, arguments.seconds) for name in kinds]
    print(f"images/s, median of {arguments.rounds} alternating runs of {arguments.seconds:g} s, {os.cpu_count()} cores")
    print("\n".join(lines))


def convert(folder: Path) -> None:
    for ending, count in COPIES.items():
        for number in range(count):
            source = folder / SMALL / f"class{number % 2}" / f"{number}.jpg"
            target = folder / f"{SMALL}_{ending}" / source.parent.name / f"{number}.{ending}"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.open(source).save(target)


def compare(folder: Path, name: str, rounds: int, seconds: float) -> str:
    """Returns one row of the table."""
    root, input_spec = folder / name, InputSpec(SIZE, min_area=0.5)
    manifest = make_manifest(root, 0.1, 0.0, 0)
    rows = {split: manifest[manifest["split"] == split] for split in ("train", "val")}
    streams, size = {"none": batches(rows, root, input_spec)}, 0
    for where in PLACES[1:]:
        cache = open_cache(where, folder / f"cache_{name}", rows, root, input_spec)
        size = cache.pixels.size
        streams[where] = batches(rows, root, input_spec, cache.of("train"))
    rates: dict[str, list[float]] = {where: [] for where in PLACES}
    for _ in range(rounds):
        for where in PLACES:
            rates[where].append(images_per_second(streams[where], seconds))
    medians = {where: statistics.median(found) for where, found in rates.items()}
    columns = [f"none {medians['none']:6.0f}"]
    columns += [f"{where} {medians[where]:6.0f} ({medians[where] / medians['none']:.2f} x)" for where in PLACES[1:]]
    return f"{name:14s} {'   '.join(columns)}   {size / len(manifest) / 1e6:.2f} MB an image"


def batches(rows: dict[str, Any], root: Path, input_spec: InputSpec, cached: Cached | None = None) -> Iterator[Any]:
    train = rows["train"]
    order = {"batch_size": BATCH, "seed": 0, "epochs": 10**6}
    return iter(training_stream(ImageSource(train, root, class_names(train), cached), input_spec, Order(**order)))


if __name__ == "__main__":
    main()
