"""Runs measurements in turn, each in a process of its own because frameworks read settings once; takes medians."""

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Variant:
    """One row of a table.

    Args:
        words: Command-line arguments of the measuring process.
        environment: Environment variables of the process in addition to ours; None removes a variable.
    """

    words: tuple[str, ...]
    environment: dict[str, str | None] = field(default_factory=dict)


def add_sizes(parser: argparse.ArgumentParser, batch_size: int, steps: int) -> None:
    """Adds the arguments for sizes and numbers of measurements, with the defaults of a script."""
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=batch_size)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--rounds", type=int, default=3)


def measure_in_turn(script: str, variants: dict[str, Variant], rounds: int) -> dict[str, list[dict[str, float]]]:
    """Measures every variant once per round, so that a machine that becomes slower does so for all of them.

    Args:
        script: Path of a script that prints one JSON object as its last line, with "images_per_second" and "peak_mib".
        variants: Variants by their names in the table.
        rounds: Number of rounds.

    Returns:
        The object that each variant printed in each round.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    for number in range(rounds):
        for name, variant in variants.items():
            measured = _in_own_process(script, name, variant)
            found[name].append(measured)
            figures = ", ".join(f"{key} {value:.4g}" for key, value in measured.items())
            print(f"round {number + 1}/{rounds}: {name}: {figures}", file=sys.stderr, flush=True)
    return found


def _in_own_process(script: str, name: str, variant: Variant) -> dict[str, float]:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow", **variant.environment}
    present = {key: value for key, value in environment.items() if value is not None}
    command = [sys.executable, script, *variant.words]
    result = subprocess.run(command, env=present, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"error: {name}: {(result.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    measured: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return measured


def rate(runs: list[dict[str, float]]) -> float:
    """Returns the images per second, the median of all rounds."""
    return statistics.median(run["images_per_second"] for run in runs)


def ratio(runs: list[dict[str, float]], others: list[dict[str, float]]) -> float:
    """Returns how many times faster the runs are than the others of the same rounds, the median of all rounds."""
    pairs = zip(runs, others, strict=True)
    return statistics.median(run["images_per_second"] / other["images_per_second"] for run, other in pairs)


def peak(runs: list[dict[str, float]]) -> float:
    """Returns the peak memory of a process in MiB, the median of all rounds."""
    return statistics.median(run["peak_mib"] for run in runs)


def print_table(title: str, found: dict[str, list[dict[str, float]]]) -> None:
    """Prints one row per variant in Markdown: images per second, ratio to the first row, peak memory."""
    first = next(iter(found.values()))
    print(f"| {title} | images/s | × the first row | peak MiB |\n|---|---|---|---|")
    for name, runs in found.items():
        print(f"| {name} | {rate(runs):.2f} | {ratio(runs, first):.2f} | {peak(runs):.0f} |", flush=True)
