"""Figures of predictions with 95 % intervals, and paired differences between two methods.

All intervals are of the bootstrap over the test images (Efron 1979). Images that belong together, such as
exposures of one tile, are drawn together, because they are not independent of each other. Trainings with several seeds
are averaged image by image, so that seeds do not narrow an interval.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

SAMPLES = 4000
# No method is charged for a probability that was written as 0: this is the resolution of float32.
LEAST_PROBABILITY = 1e-7
FIGURES = ("accuracy", "balanced_accuracy", "log_loss")
Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def read_predictions(path: Path, listing: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Returns what the figures are computed from: a row for each test image of a training.

    Args:
        path: Path of a CSV with the columns path, label and "p:CLASS" for each class.
        listing: Rows of the test images: path, label, unit.
        classes: Names of the classes.

    Returns:
        Table with the columns path, label, unit, correct (0 or 1), loss (natural logarithm).

    Raises:
        ValueError: It lacks an image or a class, has images twice, or has a number that is no probability.
    """
    table = pd.read_csv(path, keep_default_na=False, dtype={"path": str, "label": str})
    columns = [f"p:{name}" for name in classes]
    missing = [name for name in columns if name not in table]
    if missing:
        raise ValueError(f"the predictions have no column {missing[0]!r}")
    if sorted(table["path"]) != sorted(listing["path"]):
        raise ValueError("the predictions are not those of the test images, one row each")
    values = table.set_index("path").loc[listing["path"], columns].to_numpy(float)
    if not np.isfinite(values).all() or (values < 0).any() or not np.allclose(values.sum(axis=1), 1, atol=1e-2):
        raise ValueError("the predictions have numbers that are no probabilities")
    values = np.maximum(values / values.sum(axis=1, keepdims=True), LEAST_PROBABILITY)
    labels = pd.Index(classes).get_indexer(pd.Index(listing["label"]))
    right = values[np.arange(len(labels)), labels]
    found = listing[["path", "label", "unit"]].reset_index(drop=True)
    return found.assign(correct=(values.argmax(axis=1) == labels).astype(float), loss=-np.log(right))


def averaged(trainings: list[pd.DataFrame]) -> pd.DataFrame:
    """Returns one row per image with the means over all trainings that have it, over seeds for example."""
    table = pd.concat(trainings)
    return table.groupby(["path", "label", "unit"], as_index=False, sort=True)[["correct", "loss"]].mean()


def estimates(images: pd.DataFrame) -> dict[str, Estimate]:
    """Returns accuracy, balanced accuracy (mean recall of the classes) and log loss, with intervals.

    Args:
        images: Table from `averaged`.
    """
    ones = np.ones((1, len(images)))
    values, samples = _figures(images, ones), _figures(images, _bootstrap(images["unit"].to_numpy()))
    found = {name: Estimate(float(values[name][0]), *_middle(samples[name])) for name in FIGURES}
    if (
        images["correct"].isin([images["correct"].iloc[0]]).all()
    ):  # no sample differs from the others; Wilson 1927 has an interval there
        correct = round(images["correct"].sum())
        interval = binomtest(correct, len(images)).proportion_ci(confidence_level=0.95, method="wilson")
        found["accuracy"] = Estimate(found["accuracy"].value, float(interval.low), float(interval.high))
    return found


def differences(images: pd.DataFrame, others: pd.DataFrame) -> dict[str, Estimate]:
    """Returns how much larger each figure is than that of another method, on the images that both have.

    Raises:
        ValueError: They have no image in common.
    """
    return mean_differences([(images, others)])


def mean_differences(pairs: list[tuple[pd.DataFrame, pd.DataFrame]]) -> dict[str, Estimate]:
    """Returns the means over data sets of how much larger each figure is than that of another method.

    Every data set counts the same, however many images it has.

    Args:
        pairs: For each data set the tables from `averaged` of the method and of the other one.

    Raises:
        ValueError: The two have no image of a data set in common.
    """
    found = [_sampled_differences(images, others) for images, others in pairs]
    return {
        name: Estimate(
            float(np.mean([value[name] for value, _ in found])),
            *_middle(np.mean([samples[name] for _, samples in found], axis=0)),
        )
        for name in FIGURES
    }


def _sampled_differences(images: pd.DataFrame, others: pd.DataFrame) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Returns the differences of all figures, and those of all samples."""
    both = images.merge(others, on=["path", "label", "unit"], suffixes=("", "_other"))
    if both.empty:
        raise ValueError("the two methods have no test image in common")
    ones, weights = np.ones((1, len(both))), _bootstrap(both["unit"].to_numpy())
    other = both[["path", "label", "unit"]].assign(correct=both["correct_other"], loss=both["loss_other"])
    value, of_other = _figures(both, ones), _figures(other, ones)
    samples, of_others = _figures(both, weights), _figures(other, weights)
    return (
        {name: float((value[name] - of_other[name])[0]) for name in FIGURES},
        {name: samples[name] - of_others[name] for name in FIGURES},
    )


def _bootstrap(units: np.ndarray) -> np.ndarray:
    """Returns how often each image is in each sample, [samples, images]; whole units are drawn."""
    _, numbers = np.unique(units, return_inverse=True)
    count = numbers.max() + 1
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=SAMPLES)
    return drawn[:, numbers].astype(float)


def _figures(images: pd.DataFrame, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the figures of images that count `weights` times, [samples, images], as arrays [samples]."""
    correct, loss = images["correct"].to_numpy(), images["loss"].to_numpy()
    total = weights.sum(axis=1)
    recalls = []
    for label in np.unique(images["label"].to_numpy(str)):
        members = (images["label"] == label).to_numpy()
        size = weights[:, members].sum(axis=1)
        with np.errstate(invalid="ignore"):
            recalls.append(weights[:, members] @ correct[members] / size)  # NaN where a sample lacks the class
    return {
        "accuracy": weights @ correct / total,
        "balanced_accuracy": np.nanmean(recalls, axis=0),
        "log_loss": weights @ loss / total,
    }


def _middle(samples: np.ndarray) -> Interval:
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(low), float(high)
