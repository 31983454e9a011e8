"""Measures the images per second of the audit, and of Pillow alone decoding the same files with as many threads.

    python benchmarks/audit.py FOLDER [--rounds 5]

The two take turns, and medians are compared. The audit's time includes finding groups of near-identical pictures.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from pipelines.data.find import find_images
from pipelines.data.inspect import inspect_images
from pipelines.data.similar import similar_groups


def with_pillow(paths: list[Path], root: Path) -> None:
    """Only decodes every file at full size."""

    def decode(path: Path) -> None:
        with Image.open(path) as image:
            image.load()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(decode, paths))


def with_audit(paths: list[Path], root: Path) -> None:
    """Does everything that the audit does with the files."""
    facts = [fact for fact in inspect_images(paths, root, lambda results: results) if fact.readable]
    similar_groups([fact.thumbnail for fact in facts], [fact.sha256 for fact in facts])


def rate(work: Callable[[list[Path], Path], None], paths: list[Path], root: Path) -> float:
    """Returns the images per second of the work."""
    started = time.perf_counter()
    work(paths, root)
    return len(paths) / (time.perf_counter() - started)


def main() -> None:
    """Measures both in turn and prints the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="folder of class folders, all of them readable")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    found = find_images(arguments.folder)
    root, table = found.root, found.images
    paths = [root / path for path in table["path"]]
    with_pillow(paths, root)  # from now on, the files are cached in memory
    rounds = [(rate(with_pillow, paths, root), rate(with_audit, paths, root)) for _ in range(arguments.rounds)]
    pillow, audit = (statistics.median(rates) for rates in zip(*rounds, strict=True))
    print(f"{len(paths)} images, {os.cpu_count()} threads, median of {arguments.rounds}")
    print(f"Pillow alone  {pillow:8.0f} images/s")
    print(f"audit         {audit:8.0f} images/s  {audit / pillow:.2f}×")


if __name__ == "__main__":
    main()
