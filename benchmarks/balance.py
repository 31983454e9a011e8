"""Compares the values of --balance for the head alone, by grouped cross-validation on frozen features.

    python benchmarks/balance.py DATA WEIGHTS [--arch resnet18]

The names of the files in DATA must have numbers, like those of tiles6: files of a class whose numbers are at most 120
apart are exposures of one tile, and stay together. Two times five folds are the test; a sixth of the rest is the
validation part.
"""

import argparse
import re
import tempfile

from pipelines.console.quiet import import_tensorflow, set_up_tensorflow

set_up_tensorflow()
import_tensorflow()

import numpy as np  # noqa: E402  TensorFlow comes first, with its settings
from sklearn.model_selection import StratifiedGroupKFold  # noqa: E402

from pipelines.config.finetune import FinetuneConfig  # noqa: E402
from pipelines.data.manifest import label_numbers  # noqa: E402
from pipelines.evaluation.inference import Inference, softmax  # noqa: E402
from pipelines.evaluation.score import BALANCED_LOG_LOSS, LOG_LOSS, score_of  # noqa: E402
from pipelines.training.linear_probe import fit_linear_probe  # noqa: E402
from pipelines.training.network import build_trainer  # noqa: E402
from pipelines.training.plan import Plan  # noqa: E402
from pipelines.training.setup import make_plan  # noqa: E402
from resnet_tf.classifier import averaged_features, feature_extractor  # noqa: E402

FARTHEST = 120
BALANCES = ("none", "weights", "logits")  # the head of "sampling" is that of "weights"


def features_of(plan: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Returns features and labels of all images, the numbers in their names, and the number of averaged channels."""
    trainer = build_trainer(plan)
    extract = Inference(feature_extractor(trainer.model), strategy=plan.devices.strategy)
    splits = [split for split in plan.rows if len(plan.rows[split])]
    features = np.concatenate([trainer.outputs(extract, split, split) for split in splits])
    labels = np.concatenate([label_numbers(plan.rows[split], plan.classes) for split in splits])
    paths = [path for split in splits for path in plan.rows[split]["path"]]
    numbers = np.array([int(re.findall(r"\d+", path)[-1]) for path in paths])
    return features, labels, numbers, averaged_features(trainer.model)


def groups_of(labels: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Returns the number of the group of each image."""
    order = np.lexsort([numbers, labels])
    new = (np.diff(numbers[order]) > FARTHEST) | (np.diff(labels[order]) != 0)
    groups = np.empty(len(labels), int)
    groups[order] = np.concatenate([[0], np.cumsum(new)])
    return groups


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("weights")
    parser.add_argument("--arch", default="resnet18")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(FinetuneConfig(asked.data, f"{folder}/run", arch=asked.arch, weights=asked.weights))
    features, labels, numbers, averaged = features_of(plan)
    groups = groups_of(labels, numbers)
    accuracies = {}
    for balance in BALANCES:
        choose_by = LOG_LOSS if balance == "none" else BALANCED_LOG_LOSS
        scores, answers = [], []
        for seed in range(2):
            for rest, test in StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(features, labels, groups):
                inner = StratifiedGroupKFold(6, shuffle=True, random_state=seed)
                train, val = next(inner.split(features[rest], labels[rest], groups[rest]))
                parts = [(features[rest][part], labels[rest][part]) for part in (train, val)]
                probe = fit_linear_probe(parts[0], parts[1], len(plan.classes), averaged, balance, choose_by)
                probabilities = softmax(features[test] @ probe.refit_kernel + probe.refit_bias)
                scores.append(score_of(labels[test], probabilities.argmax(axis=1), probabilities))
                answers.append((labels[test], probabilities))
        accuracies[balance] = np.array([score.balanced_accuracy for score in scores])
        true, probabilities = (np.concatenate(part) for part in zip(*answers, strict=True))
        print(balance, score_of(true, probabilities.argmax(axis=1), probabilities))
        recalls = [(probabilities[true == k].argmax(axis=1) == k).mean() for k in range(len(plan.classes))]
        print("  recall", {name: round(float(recall), 2) for name, recall in zip(plan.classes, recalls, strict=True)})
    for one, other in (("weights", "none"), ("logits", "none"), ("logits", "weights")):
        difference = accuracies[one] - accuracies[other]
        error = difference.std(ddof=1) / np.sqrt(len(difference))
        print(f"balanced accuracy of folds, {one} - {other}: {difference.mean():.3f} ± {2.26 * error:.3f}")


if __name__ == "__main__":
    main()
