"""The summary of an evaluation that a terminal shows."""

from typing import Any

import pandas as pd

from pipelines.evaluation.looks import Looks
from pipelines.evaluation.metrics import most_confused

_ALWAYS = 5  # classes, all of which are among the top five
_WITH_INTERVALS = (
    ("balanced_accuracy", "balanced accuracy"),
    ("macro_f1", "macro F1"),
    ("cohen_kappa", "Cohen's kappa"),
    ("log_loss", "log loss"),
)


def summary_text(metrics: dict, matrix: pd.DataFrame) -> str:
    """Returns the most important figures in a dozen lines."""
    low, high = metrics["accuracy_ci95"]
    baseline = metrics["baseline"]
    lines = [
        f"{metrics['split']}{looks_of(metrics).in_words()}: {metrics['n']} images, {len(metrics['classes'])} classes",
        f"accuracy           {metrics['accuracy']:.4f}  (95 % interval {low:.4f} to {high:.4f})",
        *([f"top-5 accuracy     {metrics['top5_accuracy']:.4f}"] if len(metrics["classes"]) > _ALWAYS else []),
        *(f"{name:<18} {_with_interval(metrics, key)}" for key, name in _WITH_INTERVALS),
        f"calibration error  {metrics['ece']:.4f}",
        f"always {baseline['class']!r}: accuracy {baseline['accuracy']:.4f}, macro F1 {baseline['macro_f1']:.4f}",
    ]
    pairs = most_confused(matrix)
    lines.append("most confused:" if pairs else "nothing was confused")
    lines += [f"  {true} taken for {taken}: {count} of {images}" for true, taken, count, images in pairs]
    empty = [name for name, images in matrix.sum(axis=1).items() if images == 0]
    lines += [f"no images here of: {', '.join(map(str, empty))}"] if empty else []
    return "\n".join(lines)


def looks_of(metrics: dict[str, Any]) -> Looks:
    """Returns what was averaged over, from the content of metrics.json."""
    return Looks(metrics.get("mirror", False), metrics.get("crops", 1), tuple(metrics.get("scales", ())))


def _with_interval(metrics: dict[str, Any], name: str) -> str:
    ends = metrics.get(f"{name}_ci95")
    return f"{metrics[name]:.4f}" + (f"  ({ends[0]:.4f} to {ends[1]:.4f})" if ends else "")
