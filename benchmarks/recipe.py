"""Measures the effect of each part of the recipe: accuracy on the test part and minutes, over several seeds.

    python benchmarks/recipe.py DATA WEIGHTS --out FOLDER [--arch resnet18] [--image-size 224] [--seeds 3]
        [--only NAME …]

Every row is a training of its own, by the same command and on the same split, that of seed 0. Rows that are in FOLDER
already are not trained again, so the table can be made in several sittings. An interrupted training is continued, but
then its minutes are unknown.

The table has the accuracy with its spread over the seeds and its 95 % interval, the log loss, and the minutes of
training. The last column compares each row with the first one, image by image: how much larger the log loss is, as a
mean over the seeds, with its 95 % interval from 10,000 bootstrap samples of the test images. If 0 is outside, the
difference holds for images such as these, which the intervals of two accuracies seldom show.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.recipe.scratch import ALL_AT_ONCE

LAST_STAGE = {"frozen_stages": ("conv1", "conv2", "conv3", "conv4")}
# name: (settings of `FinetuneConfig`, changes of the recipe that no setting makes); last_stage.py has more
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the recipe": ({}, {}),
    "the last stage": ({}, LAST_STAGE),
    "the last stage without a head first": ({}, {**LAST_STAGE, "head_first": False, "refit_head": False}),
    "all layers": ({}, {"frozen_stages": ()}),
    "plain SGD of all layers": (
        {"epochs": 4, "learning_rate": 0.01},
        {**ALL_AT_ONCE, "optimizer": "momentum", "weight_decay": 1e-4},
    ),
}
# name: (number of stages, whether features include maxima beside averages, whether validation is fitted as well)
HEADS = {
    "head alone, as the recipe fits it": (3, True, True),
    "head of averages alone": (3, False, True),
    "head of the last stage's averages alone": (1, False, True),
    "head not fitted to validation": (3, True, False),
    "head of averages alone, not fitted to validation": (3, False, False),
    "head of the last stage's averages, not fitted to validation": (1, False, False),
}
GUIDE = "the Keras guide's two phases"
FASTAI = "fastai's schedule"


def train_with_recipe(arguments: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """Runs `resnet-tf finetune` with a variant's options and changes of the recipe; returns the figures on the test."""
    from pipelines.config.finetune import FinetuneConfig
    from pipelines.data.manifest import label_numbers
    from pipelines.evaluate import evaluate
    from pipelines.finetune import finetune
    from pipelines.training.setup import make_plan

    settings, changes = VARIANTS[name]
    config = FinetuneConfig(
        data=str(arguments.data),
        run=str(arguments.out / f"{slug(name)}-{seed}"),
        arch=arguments.arch,
        weights=str(arguments.weights),
        image_size=arguments.image_size,
        seed=seed,
        manifest=str(arguments.out / "manifest.csv"),
        **settings,
    )
    continued = Path(config.run).exists()
    started = time.perf_counter()
    run = finetune(make_plan(config).changed(**changes))
    seconds = math.nan if continued else time.perf_counter() - started  # earlier sittings are unknown
    figures = evaluate(run).metrics
    predictions = pd.read_csv(run.evaluation("test") / "predictions.csv", keep_default_na=False, dtype={"label": str})
    classes = list(figures["classes"])
    losses = losses_of(label_numbers(predictions, classes), predictions[[f"p:{name}" for name in classes]].to_numpy())
    return {"seconds": seconds, **figures, "losses": losses}


def fit_heads(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Fits all heads, which do not depend on a seed, to features that are computed once."""
    from pipelines.config.finetune import FinetuneConfig
    from pipelines.data.manifest import label_numbers, load_manifest
    from pipelines.evaluation.inference import Inference, softmax
    from pipelines.training.linear_probe import fit_linear_probe
    from pipelines.training.network import build_trainer
    from pipelines.training.plan import plan_of
    from resnet_tf.classifier import averaged_features, feature_extractor
    from resnet_tf.weights import find_weights

    manifest, weights = load_manifest(arguments.out / "manifest.csv"), str(arguments.weights)
    config = FinetuneConfig(
        data=str(arguments.data), run="", arch=arguments.arch, weights=weights, image_size=arguments.image_size
    )
    found = find_weights(weights, arguments.arch, include_top=False)
    plan = plan_of(config, manifest, found)
    trainer = build_trainer(plan)
    started = time.perf_counter()
    extract = Inference(feature_extractor(trainer.model))
    features = {split: trainer.outputs(extract, split, split) for split in plan.rows}
    labels = {split: label_numbers(rows, plan.classes) for split, rows in plan.rows.items()}
    share = 1.0 - len(labels["test"]) / len(manifest)  # the recipe does not use the test part
    seconds = share * (time.perf_counter() - started)
    averaged = averaged_features(trainer.model)
    last = trainer.model.get_layer("avg_pool").output.shape[-1]
    results = {}
    for name, (stages, maxima, refit) in HEADS.items():
        columns = slice(0, None) if maxima else slice(averaged - last if stages == 1 else 0, averaged)
        started = time.perf_counter()
        parts = [(features[split][:, columns], labels[split]) for split in ("train", "val")]
        fitted = fit_linear_probe(*parts, len(plan.classes), averaged if maxima else None)
        kernel, bias = (fitted.refit_kernel, fitted.refit_bias) if refit else (fitted.kernel, fitted.bias)
        probabilities = softmax(np.asarray(features["test"][:, columns] @ kernel + bias))
        taken = seconds + time.perf_counter() - started
        results[name] = {"seconds": taken, **figures_of(labels["test"], probabilities, plan.classes)}
    return results


def train_with_peer(arguments: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """Trains with another project's recipe, and returns the figures on the test."""
    from peer_recipes import Task, train_with_fastai_schedule, train_with_guide

    manifest = arguments.out / "manifest.csv"
    task = Task(arguments.data, manifest, arguments.weights, arguments.arch, arguments.image_size, seed)
    seconds, probabilities = (train_with_guide if name == GUIDE else train_with_fastai_schedule)(task)
    return {"seconds": seconds, **figures_of(task.labels, probabilities, task.classes)}


def figures_of(labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """Returns the figures that `evaluate` computes, and the log loss of each image."""
    from pipelines.evaluation.metrics import summarize

    return {**summarize(labels, probabilities, classes), "losses": losses_of(labels, probabilities)}


def losses_of(labels: np.ndarray, probabilities: np.ndarray) -> list[float]:
    """Returns the log loss of each image in the manifest's order, so that rows can be compared image by image."""
    right = probabilities[np.arange(len(labels)), labels]
    return list(-np.log(np.maximum(right, np.finfo(np.float64).eps)))


def slug(name: str) -> str:
    """Returns a name that is suitable for files."""
    return "-".join(name.replace(",", "").replace("'", "").split())


def result(arguments: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """Returns the figures of one training, which runs in a process of its own or ran in an earlier sitting."""
    file = file_of(arguments, name, seed)
    if not file.exists():
        command = [sys.executable, __file__, arguments.data, arguments.weights, "--out", arguments.out]
        command += ["--arch", arguments.arch, "--image-size", arguments.image_size, "--one", name, seed]
        subprocess.run(list(map(str, command)), check=True, stdout=sys.stderr)
    return json.loads(file.read_text())


def file_of(arguments: argparse.Namespace, name: str, seed: int) -> Path:
    """Returns the path of the file that keeps the figures of a training."""
    return arguments.out / f"{slug(name)}-{seed}.json"


def measure(arguments: argparse.Namespace, name: str, seed: int) -> None:
    """Measures one training, or all heads, in this process."""
    if name in HEADS:
        results = fit_heads(arguments)
    elif name in (GUIDE, FASTAI):
        results = {name: train_with_peer(arguments, name, seed)}
    else:
        results = {name: train_with_recipe(arguments, name, seed)}
    for each, figures in results.items():
        kept = {key: figures[key] for key in ("n", "accuracy", "log_loss", "seconds", "losses")}
        file_of(arguments, each, seed).write_text(json.dumps(kept))


def table(arguments: argparse.Namespace) -> str:
    """Returns the table with one row per variant."""
    names = arguments.only or [*VARIANTS, *HEADS, GUIDE, FASTAI]
    seeds = {name: 1 if name in HEADS else arguments.seeds for name in names}
    return table_of({name: [result(arguments, name, seed) for seed in range(seeds[name])] for name in names})


def table_of(rows: dict[str, list[dict[str, Any]]]) -> str:
    """Returns a table with one row per name and means over the seeds, without columns that no row has."""
    columns = {
        "accuracy": ("accuracy", lambda value: f"{value:.3f}"),
        "validation_log_loss": ("validation log loss", lambda value: f"{value:.3f}"),
        "log_loss": ("log loss", lambda value: f"{value:.3f}"),
        "seconds": ("minutes", lambda value: f"{value / 60:.1f}"),
    }
    known = [key for key in columns if all(key in each for results in rows.values() for each in results)]
    titles = [
        "setting",
        "of each seed",
        "95 % interval",
        *(columns[key][0] for key in known),
        "log loss over the first's",
    ]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    first = next(iter(rows.values()))
    for name, results in rows.items():
        means = {key: statistics.mean(each[key] for each in results) for key in known}
        spread = " ".join(f"{each['accuracy']:.3f}" for each in results)
        low, high = wilson(means["accuracy"], int(results[0]["n"]))
        values = [columns[key][1](means[key]) for key in known]
        over = "" if results is first else compared(results, first)
        lines.append(f"| {' | '.join([name, spread, f'{low:.3f} to {high:.3f}', *values, over])} |")
    return "\n".join(lines)


def compared(results: list[dict[str, Any]], others: list[dict[str, Any]]) -> str:
    """Returns how much larger the log loss is than the others', with the 95 % interval of the paired bootstrap."""
    difference = mean_losses(results) - mean_losses(others)
    samples = np.random.default_rng(0).integers(0, len(difference), (10_000, len(difference)))
    low, high = np.quantile(difference[samples].mean(axis=1), [0.025, 0.975])
    return f"{difference.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def mean_losses(results: list[dict[str, Any]]) -> np.ndarray:
    """Returns the mean log loss of each image over the seeds."""
    return np.mean([each["losses"] for each in results], axis=0)


def wilson(accuracy: float, images: int) -> tuple[float, float]:
    """Returns the 95 % interval of a share of `images` (Wilson 1927); seeds share the images and do not narrow it."""
    z = 1.96
    middle = (accuracy + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z * ((accuracy * (1 - accuracy) + z**2 / (4 * images)) / images) ** 0.5 / (1 + z**2 / images)
    return middle - half, middle + half


def add_arguments(parser: argparse.ArgumentParser, names: list[str]) -> None:
    """Adds the arguments that all tables of this kind have."""
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME")


def make_split(arguments: argparse.Namespace) -> None:
    """Writes manifest.csv with the split of seed 0 to the folder."""
    from pipelines.data.manifest import make_manifest
    from pipelines.runs.files import write_csv

    if not (arguments.out / "manifest.csv").exists():
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_csv(arguments.out / "manifest.csv", make_manifest(str(arguments.data), 0.15, 0.15, 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, [*VARIANTS, *HEADS, GUIDE, FASTAI])
    parser.add_argument("--image-size", type=int, default=224, metavar="PIXELS")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "SEED"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # resnet-tf does the same
    if arguments.one:
        measure(arguments, arguments.one[0], int(arguments.one[1]))
        return
    make_split(arguments)
    print(table(arguments))


if __name__ == "__main__":
    main()
