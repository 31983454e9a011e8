"""Every number on the page of an evaluation follows from predictions.csv, by arithmetic that is not the page's own."""

import csv
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.pipelines.reports import ODD_NAMES, calibration_of_others, made_report, written


class Marked(HTMLParser):
    """Collects the texts of the elements of a page that say what they show, and the rows of its tables."""

    def __init__(self) -> None:
        super().__init__()
        self.figures: dict[str, str] = {}
        self.rows: list[tuple[dict[str, str], list[str], list[str | None]]] = []
        self._open: list[tuple[str, str]] = []
        self._in_cell = False

    def handle_starttag(self, tag: str, attributes: list) -> None:
        given = dict(attributes)
        if "data-figure" in given:
            self._open.append((tag, given["data-figure"]))
            self.figures[given["data-figure"]] = ""
        if tag == "tr":
            self.rows.append((given, [], []))
        if tag in ("td", "th") and self.rows:
            self.rows[-1][1].append("")
            self.rows[-1][2].append(given.get("data-value"))
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1][0] == tag:
            self._open.pop()
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        for _, name in self._open:
            self.figures[name] += data
        if self._in_cell and self.rows:
            self.rows[-1][1][-1] += data


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(made_report(), tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def marked(page: Path) -> Marked:
    found = Marked()
    found.feed(page.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def judged(page: Path) -> list[tuple[str, str, list[float]]]:
    """Returns the true class, the named class and the probabilities of each image, from predictions.csv."""
    with page.with_name("predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [(row["label"], row["predicted"], [float(row[f"p:{name}"]) for name in ODD_NAMES]) for row in rows]


def numbers(text: str) -> list[float]:
    return [float(each) for each in re.findall(r"-?\d+(?:\.\d+)?", text.replace(",", ""))]


def wilson(right: int, images: int) -> tuple[float, float]:
    """Solves (share − p)² = z² p (1 − p) / n for p, which defines Wilson's interval."""
    z = 1.959963984540054
    ends = np.roots([1 + z * z / images, -2 * right / images - z * z / images, (right / images) ** 2])
    return min(ends.real), max(ends.real)


def f1_of(judged: list, name: str) -> float:
    hits = sum(true == named == name for true, named, _ in judged)
    either = sum(true == name for true, _, _ in judged) + sum(named == name for _, named, _ in judged)
    return 2 * hits / either if either else math.nan


def test_the_figures_at_the_top_follow_from_the_predictions(marked, judged):
    classes = {true for true, _, _ in judged}
    recalls = [np.mean([named == name for true, named, _ in judged if true == name]) for name in classes]
    expected = {
        "accuracy": 100 * np.mean([true == named for true, named, _ in judged]),
        "balanced_accuracy": 100 * np.mean(recalls),
        "macro_f1": 100 * np.mean([f1_of(judged, name) for name in classes]),
        "log_loss": -np.mean([math.log(shares[ODD_NAMES.index(true)]) for true, _, shares in judged]),
        "verdict": 100 * np.mean([true == named for true, named, _ in judged]),
        "top5_accuracy": 100 * np.mean([sorted(p)[-5] <= p[ODD_NAMES.index(true)] for true, _, p in judged]),
    }
    for name, value in expected.items():
        assert numbers(marked.figures[name])[0] == pytest.approx(value, abs=0.051 if value > 1.5 else 0.00051), name


def test_the_largest_class_is_what_guessing_would_give(marked, judged):
    counts = [sum(true == name for true, _, _ in judged) for name in {true for true, _, _ in judged}]
    shares = np.array(counts) / len(judged)
    expected = {
        "baseline_accuracy": 100 * shares.max(),
        "baseline_balanced_accuracy": 100 / len(counts),
        "baseline_macro_f1": 100 * 2 * shares.max() / (1 + shares.max()) / len(counts),
        "baseline_log_loss": -(shares * np.log(shares)).sum(),
    }
    for name, value in expected.items():
        assert numbers(marked.figures[name])[-1] == pytest.approx(value, abs=0.051 if value > 2 else 0.00051), name


def test_the_intervals_are_those_of_draws_of_pairs_of_photos(marked, judged):
    random = np.random.default_rng(7)
    right = np.array([true == named for true, named, _ in judged])
    losses = np.array([-math.log(shares[ODD_NAMES.index(true)]) for true, _, shares in judged])
    pairs = np.arange(len(judged)).reshape(-1, 2)
    drawn = [pairs[random.integers(len(pairs), size=len(pairs))].ravel() for _ in range(4000)]
    for name, values, scale in (("accuracy", right, 100), ("log_loss", losses, 1)):
        low, high = np.quantile([values[each].mean() for each in drawn], [0.025, 0.975]) * scale
        shown = numbers(marked.figures[f"{name}_ci95"])[-2:]
        # Two sets of a thousand draws differ by about a fifteenth of the interval's width at each end.
        assert shown == pytest.approx([low, high], abs=0.15 * (high - low))


def test_the_table_of_classes_follows_from_the_predictions(marked, judged):
    rows = [row for row in marked.rows if "data-class" in row[0]]
    assert len(rows) == len(ODD_NAMES)
    for attributes, cells, values in rows:
        name = ODD_NAMES[int(attributes["data-class"])]
        assert cells[0] == name
        images = sum(true == name for true, _, _ in judged)
        named = sum(each == name for _, each, _ in judged)
        hits = sum(true == each == name for true, each, _ in judged)
        assert int(values[1]) == images
        for column, of in ((2, images), (4, named)):
            if not of:
                assert values[column] == ""
                continue
            share, *interval = numbers(cells[column].replace(" %", " "))
            assert float(values[column]) == pytest.approx(hits / of, abs=1e-6)
            assert [share, *interval[-2:]] == pytest.approx(
                [100 * hits / of, *(100 * e for e in wilson(hits, of))], abs=0.051
            )
        if images or named:
            assert float(values[5]) == pytest.approx(f1_of(judged, name), abs=1e-6)
            ends = [200 * end / (1 + end) for end in wilson(hits, images + named - hits)]  # F1 grows with this share
            assert numbers(cells[5])[-2:] == pytest.approx(ends, abs=0.051)
        others = [each for true, each, _ in judged if true == name != each]
        most = max((others.count(each) for each in others), default=0)
        assert (numbers(cells[6])[-1] if most else 0) == most


def test_the_most_confused_pairs_follow_from_the_predictions(marked, judged):
    rows = [row for row in marked.rows if "data-taken" in row[0]]
    shown = {}
    for attributes, cells, _ in rows:
        truth, taken = (ODD_NAMES[int(attributes[key])] for key in ("data-true", "data-taken"))
        assert cells[:2] == [truth, taken]
        shown[truth, taken] = [int(cell) for cell in cells[2:4]]
    for (truth, taken), counts in shown.items():
        times = sum((true, named) == (truth, taken) for true, named, _ in judged)
        assert counts == [times, sum(true == truth for true, _, _ in judged)]
    every = {(true, named) for true, named, _ in judged if true != named}
    assert len(shown) == min(20, len(every))


def test_the_calibration_follows_from_the_predictions(marked, judged):
    labels = np.array([ODD_NAMES.index(true) for true, _, _ in judged])
    after = np.array([shares for _, _, shares in judged])
    before = after ** calibration_of_others(len(ODD_NAMES)).temperature
    for name, shares in (("calibration", after), ("before", before / before.sum(axis=1, keepdims=True))):
        confidence, right = shares.max(axis=1), shares.argmax(axis=1) == labels
        gaps = [
            abs((right[inside] - confidence[inside]).sum())
            for low in range(15)
            if (inside := (confidence * 15 >= low) & ((confidence * 15 < low + 1) | (low == 14))).any()
        ]
        truth = np.eye(len(ODD_NAMES))[labels]
        expected = {
            "ece": sum(gaps) / len(labels),
            "brier": ((shares - truth) ** 2).sum(axis=1).mean(),
            "log_loss": -np.log(shares[np.arange(len(labels)), labels]).mean(),
        }
        for key, value in expected.items():
            assert numbers(marked.figures[f"{name}_{key}"])[0] == pytest.approx(value, abs=5.1e-5)


def test_the_sentence_about_refusing_and_the_sets_follow_from_the_predictions(marked, judged):
    calibration = calibration_of_others(len(ODD_NAMES))
    labels = np.array([ODD_NAMES.index(true) for true, _, _ in judged])
    shares = np.array([each for _, _, each in judged])
    kept = shares.max(axis=1) >= calibration.threshold
    right = int((shares.argmax(axis=1) == labels)[kept].sum())
    threshold, share, level, low, high, covered = numbers(marked.figures["refusing"])
    assert level == 95
    assert threshold == pytest.approx(calibration.threshold, rel=0.005)
    assert [share, low, high] == pytest.approx(
        [100 * right / kept.sum(), *(100 * e for e in wilson(right, kept.sum()))], abs=0.051
    )
    assert covered == pytest.approx(100 * kept.mean(), abs=0.51)

    scores = sorted(calibration.scores["lac"])
    quantile = scores[math.ceil(0.95 * (len(scores) + 1)) - 1]
    inside = 1 - shares <= quantile
    inside[np.arange(len(labels)), shares.argmax(axis=1)] = True
    assert numbers(marked.figures["sets_lac_size"])[0] == pytest.approx(inside.sum(axis=1).mean(), abs=0.0051)
    assert numbers(marked.figures["sets_lac_covered"])[0] == pytest.approx(
        100 * inside[np.arange(len(labels)), labels].mean(), abs=0.051
    )
