"""Measures a report of many classes and images in Chromium: its size, how soon it is painted, and how fast it answers.

    python benchmarks/report.py [--classes 300] [--images 50000] [--out FOLDER]

The predictions and the photos are drawn at random; every photo that the page has room for gets a map of evidence and
three training photos. The page is opened from the disk. Playwright and Chromium are needed
(requirements-dev.txt, and /usr/bin/chromium or the one that CHROMIUM names).
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from pipelines.evaluation.figures import figures_of
from pipelines.evaluation.judged import Judged
from pipelines.evaluation.metrics import confusion_matrix
from pipelines.evaluation.predictions import prediction_table
from pipelines.report.album import GRID, MOST_PHOTOS, Album, Frame, OtherPhoto, PagePhoto, order_of_photos, picture_uri
from pipelines.report.content import Report
from pipelines.report.page import render_page

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")


def made_up(classes: int, images: int) -> Report:
    """Returns the report of a model that is right for four images of five, and confuses classes in groups of ten."""
    random = np.random.default_rng(0)
    names = [f"class {number:03d} of the {'long ' * (number % 4)}list" for number in range(classes)]
    labels = random.integers(classes, size=images)
    beside = labels // 10 * 10 + random.integers(10, size=images)
    towards = np.where(random.random(images) < 0.75, labels, np.minimum(beside, classes - 1))
    logits = random.gumbel(size=(images, classes)).astype(np.float32)
    logits[np.arange(images), towards] += random.uniform(3, 12, images)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    paths = [f"{names[label]}/{number:06d}.jpg" for number, label in enumerate(labels)]
    rows = pd.DataFrame({"path": paths, "label": [names[label] for label in labels]})
    figures = figures_of(Judged("test", names, rows, shares))
    return Report(
        "made up, test",
        {**figures.metrics, "classes": names, "split": "test"},
        confusion_matrix(labels, shares.argmax(axis=1), names),
        prediction_table(paths, rows["label"].tolist(), shares, names),
        figures,
        album=_album(labels, shares, names),
    )


def _album(labels: np.ndarray, shares: np.ndarray, names: list[str]) -> Album:
    """Photos of noise at two scales, which take as much room as real ones."""
    random = np.random.default_rng(1)
    large, small = ([_noise(random, size) for _ in range(40)] for size in ((144, 108), (72, 54)))
    training = [
        OtherPhoto(f"train/{number:06d}.jpg", names[number % len(names)], small[number % 40]) for number in range(4000)
    ]
    predicted = shares.argmax(axis=1)
    photos = [
        PagePhoto(
            int(image),
            large[place % 40],
            Frame(0.12, 0.06, 0.66, 0.88),
            {
                int(label): random.integers(-127, 128, (GRID, GRID)).astype(np.int8)
                for label in (predicted[image], labels[image])
            },
            {int(label): 1.0 for label in (predicted[image], labels[image])},
            near=tuple((int(near), 0.8) for near in random.integers(4000, size=3)),
        )
        for place, image in enumerate(order_of_photos(labels, predicted, shares.max(axis=1))[:MOST_PHOTOS])
    ]
    return Album(photos, training, "exact", "4,000 training photos")


def _noise(random: np.random.Generator, size: tuple[int, int]) -> str:
    coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3)).astype(np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    fine = random.normal(0, 9, (size[1], size[0], 3))
    return picture_uri(Image.fromarray(np.clip(np.asarray(coarse) + fine, 0, 255).astype(np.uint8)))


def measured(page: Path) -> dict[str, float]:
    """Returns milliseconds until the first paint, until the script has run, and until each action is answered."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(page.as_uri())
        inside = tab.text_content("#left-out")
        print(inside.strip().partition(", so that")[0] if inside else "all photos are in the page")
        tab.wait_for_timeout(500)
        found = tab.evaluate(
            "() => ({'first paint': performance.getEntriesByName('first-contentful-paint')[0].startTime,"
            " 'ready': performance.timing.domContentLoadedEventEnd - performance.timing.navigationStart})"
        )
        for name, action in ACTIONS.items():
            times = [tab.evaluate(_TIMED, action) for _ in range(5)]
            found[name], found[f"{name}, the first time"] = float(np.median(times[1:])), times[0]
        browser.close()
    return found


# What somebody does with the page, in its own language.
ACTIONS = {
    "a click on a cell off the diagonal": "document.querySelector('button[data-cell]').click()",
    "a click on the first cell of the diagonal": """
        const box = document.querySelector('#matrix .cells').getBoundingClientRect();
        const at = {clientX: box.left + 1, clientY: box.top + 1, bubbles: true};
        document.querySelector('#matrix .cells').dispatchEvent(new MouseEvent('click', at))""",
    "another order": "turn('choose-order', 'change', ['together', 'name'])",
    "a search": "turn('search', 'input', ['class 01', ''])",
    "another threshold": "turn('threshold', 'input', [0.3, 0.7])",
}
# The time from an action until the browser has painted its answer.
_TIMED = """async (action) => {
  const turn = (id, event, [one, other]) => {
    const control = document.getElementById(id);
    control.value = control.value === String(one) ? other : one;
    control.dispatchEvent(new Event(event));
  };
  const begin = performance.now();
  new Function('turn', action)(turn);
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - begin;
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=300)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--out", type=Path, help="folder to keep the page in")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = (given.out or Path(folder)) / "report.html"
        place.parent.mkdir(parents=True, exist_ok=True)
        report = made_up(given.classes, given.images)
        begin = time.perf_counter()
        content = render_page(report)
        print(f"{given.classes} classes, {given.images:,} images: rendered in {time.perf_counter() - begin:.1f} s")
        place.write_text(content, encoding="utf-8")
        print(f"size: {place.stat().st_size / 1e6:.2f} MB")
        for name, milliseconds in measured(place).items():
            print(f"{name}: {milliseconds:.0f} ms")


if __name__ == "__main__":
    main()
