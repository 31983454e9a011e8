"""Methods that need no other environment, with our network: features, the Keras guide, fastai's schedule, plain SGD."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # resnet-tf does the same

import numpy as np
import pandas as pd

from benchmarks import peer_recipes
from benchmarks.peer_table.workers.exchange import Task, read_task, write_predictions

FEATURE_STAGES = 3
STRENGTHS = np.logspace(-5, 2, 8)  # C; the features are standardized
INNER_FOLDS = 5


def fit_logistic_regression(task: Task) -> tuple[float, float, np.ndarray]:
    """Fits scikit-learn's logistic regression to the averages of the last three stages.

    C is chosen by cross-validation of the log loss within training and validation, in which near-identical images and
    groups stay together.

    Returns:
        Seconds of training and of prediction, and the probabilities of the test's images.
    """
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from pipelines.data.groups import tied_units
    from pipelines.data.manifest import label_numbers

    images = peer_recipes.Task(**_arguments(task))
    rows = pd.concat([images.rows["train"], images.rows["val"]])
    labels = label_numbers(rows, images.classes)
    extract = _extractor(task)
    features = extract(images, rows)
    folds = StratifiedGroupKFold(INNER_FOLDS, shuffle=True, random_state=task.seed)
    inner = list(folds.split(features, labels, tied_units(rows["similar"], rows["group"])))
    fitted = make_pipeline(
        StandardScaler(), LogisticRegressionCV(Cs=STRENGTHS, cv=inner, scoring="neg_log_loss", max_iter=1000)
    ).fit(features, labels)
    training, began = task.waited(), time.perf_counter()
    probabilities = fitted.predict_proba(extract(images, images.rows["test"]))
    return training, time.perf_counter() - began, probabilities


def train(task: Task) -> tuple[float, float, np.ndarray]:
    """Trains by one of `benchmarks/peer_recipes.py`; returns the same as `fit_logistic_regression`."""
    options = dict(task.options)
    method: Callable[..., Any] = getattr(peer_recipes, options.pop("function"))
    before = task.waited()  # the imports, for which a user waits as well
    images = peer_recipes.Task(**_arguments(task), watch=False)
    seconds, probabilities = method(images, **options)
    return before + seconds, task.waited() - before - seconds, probabilities


def _extractor(task: Task) -> Callable[[Any, pd.DataFrame], np.ndarray]:
    """Returns the function that computes the features, [rows, channels], of rows of a manifest."""
    from pipelines.evaluation.inference import Inference, images_of, outputs
    from pipelines.images.stream import ImageSource, evaluation_stream
    from resnet_tf.classifier import build_classifier, feature_extractor
    from resnet_tf.distribution import choose_precision
    from resnet_tf.weights import find_weights, load_weights

    found = find_weights(task.weights, task.arch, include_top=False)
    network = build_classifier(
        task.arch,
        len(task.classes),
        preprocessing=found.preprocessing,
        head_stages=FEATURE_STAGES,
        precision=choose_precision("auto"),
    )
    load_weights(network, found)
    inference = Inference(feature_extractor(network))

    def extract(images: Any, rows: pd.DataFrame) -> np.ndarray:
        stream = evaluation_stream(ImageSource(rows, images.root, images.classes), images.input_spec, 32)
        return outputs(inference, images_of(stream), len(rows), 32, "features")

    return extract


def _arguments(task: Task) -> dict[str, Any]:
    return {
        "data": Path(task.data),
        "manifest": Path(task.manifest),
        "weights": Path(task.weights),
        "architecture": task.arch,
        "image_size": task.image_size,
        "seed": task.seed,
    }


def main() -> None:
    task = read_task()
    training, prediction, probabilities = (train if "function" in task.options else fit_logistic_regression)(task)
    write_predictions(task, "plain", probabilities.tolist(), training, prediction)


if __name__ == "__main__":
    main()
