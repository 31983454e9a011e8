"""How many wrong labels are found: labels of a data set are swapped at random, and looked for out of fold.

    python benchmarks/label_issues.py DATA WEIGHTS [--arch resnet18] [--share 0.05] [--seeds 3]

DATA is a folder with one sub-folder per class, whose own labels count as true. The features are those of the frozen
network with the pretrained weights. The table has precision and recall of `evaluate --labels`'s rule, and of four rules
of cleanlab on the same out-of-fold predictions. It needs cleanlab, see requirements-dev.txt.
"""

import argparse
from pathlib import Path

import numpy as np
from cleanlab.filter import find_label_issues

import resnet_tf
from pipelines.data.groups import tied_units
from pipelines.data.manifest import look_at_images
from pipelines.evaluation.inference import Inference, images_of, outputs
from pipelines.evaluation.label_issues import label_issues
from pipelines.images.stream import ImageSource, InputSpec, evaluation_stream
from pipelines.training.out_of_fold import out_of_fold_probabilities
from resnet_tf.classifier import build_classifier, feature_extractor

BATCH_SIZE, STRENGTH = 32, 0.3
CLEANLAB = ("confident_learning", "prune_by_noise_rate", "both", "predicted_neq_given")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("weights")
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--share", type=float, default=0.05, help="share of the labels that are swapped")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    images = look_at_images(arguments.data).images
    images = images[images["readable"]].reset_index(drop=True)
    classes, truth = np.unique(images["label"].to_numpy(str), return_inverse=True)
    model = build_classifier(arguments.arch, len(classes), head_stages=3, head_pooling="avg+max", precision="bfloat16")
    resnet_tf.load_weights(model, arguments.weights)
    batches = images_of(evaluation_stream(ImageSource(images, Path(arguments.data), []), InputSpec(224), BATCH_SIZE))
    features = outputs(Inference(feature_extractor(model)), batches, len(images), BATCH_SIZE, "features")
    units = tied_units(images["similar"], images["group"])
    found: dict[str, list[list[float]]] = {}
    for seed in range(arguments.seeds):
        labels = swapped(truth, len(classes), arguments.share, seed)
        predictions = out_of_fold_probabilities(features, labels, len(classes), units, strength=STRENGTH)
        rules = {"ours": [issue.image for issue in label_issues(labels, predictions)]}
        rules |= {
            rule: list(
                find_label_issues(labels, predictions, filter_by=rule, return_indices_ranked_by="self_confidence")
            )
            for rule in CLEANLAB
        }
        for rule, issues in rules.items():
            hits = int((labels != truth)[issues].sum())
            found.setdefault(rule, []).append([len(issues), hits / len(issues), hits / (labels != truth).sum()])
    print("| rule | labels named | precision | recall |\n|---|---|---|---|")
    for rule, rows in found.items():
        named, precision, recall = np.mean(rows, axis=0)
        print(f"| {rule} | {named:.0f} | {precision:.2f} | {recall:.2f} |")


def swapped(truth: np.ndarray, classes: int, share: float, seed: int) -> np.ndarray:
    """Returns labels of which a share is another class, drawn by lot."""
    random = np.random.default_rng(seed)
    chosen = random.choice(len(truth), round(share * len(truth)), replace=False)
    labels = truth.copy()
    labels[chosen] = (truth[chosen] + random.integers(1, classes, len(chosen))) % classes
    return labels


if __name__ == "__main__":
    main()
