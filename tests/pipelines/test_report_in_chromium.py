"""The page of an evaluation in a real browser: what a reader clicks, types and moves, on a phone and on a desktop."""

import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.reports import ODD_NAMES, made_report, written

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"there is no Chromium at {CHROMIUM}; CHROMIUM names another one")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is in requirements-dev.txt")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=str(CHROMIUM))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(made_report(), tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def desktop(browser: Any, report_file: Path) -> Iterator[Any]:
    """Yields the page on a desktop; every test leaves it usable for the next one."""
    with watched(browser, report_file, DESKTOP) as page:
        yield page


class watched:
    """A page that must neither complain in the console nor ask for anything."""

    def __init__(self, browser: Any, file: Path, size: dict[str, int], scheme: str = "light") -> None:
        self.context, self.file, self.wrong = browser.new_context(viewport=size, color_scheme=scheme), file, []

    def __enter__(self) -> Any:
        page = self.context.new_page()
        page.set_default_timeout(5000)
        page.on("console", lambda message: self.wrong.append(message.text))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("dialog", lambda dialog: self.wrong.append("a name was run as a script"))
        page.on("request", lambda request: self.wrong.append(request.url) if "file:" not in request.url[:5] else None)
        page.goto(self.file.as_uri())
        return page

    def __exit__(self, *error: Any) -> None:
        self.context.close()
        requests = [each for each in self.wrong if not each.startswith("data:")]
        assert not requests, requests


def counts(file: Path) -> dict[tuple[str, str], int]:
    with file.with_name("predictions.csv").open(encoding="utf-8", newline="") as rows:
        pairs = [(row["label"], row["predicted"]) for row in csv.DictReader(rows)]
    return {pair: pairs.count(pair) for pair in pairs}


def test_every_cell_of_the_matrix_says_its_number_in_words(desktop, report_file):
    expected, order = counts(report_file), sorted(ODD_NAMES, key=str.casefold)
    desktop.focus("#matrix .cells")
    for truth in order:
        desktop.keyboard.press("Home")
        for named in order:
            said = desktop.text_content("#said")
            of_row = sum(number for (true, _), number in expected.items() if true == truth)
            number = expected.get((truth, named), 0)
            if of_row:
                assert f"in {number} photo" in said
                assert f"{100 * number / of_row:.1f} % of its {of_row} photos" in said
                assert said.startswith(truth)
                assert truth == named or f"taken for {named}" in said
            else:
                assert said.startswith(f"There are no photos of {truth} here")
            desktop.keyboard.press("ArrowRight")
        desktop.keyboard.press("ArrowDown")


def test_a_click_on_a_cell_shows_its_photos_with_probabilities_maps_and_neighbours(desktop, report_file):
    box = desktop.locator("#matrix .cells canvas").bounding_box()
    side = box["width"] / len(ODD_NAMES)
    desktop.mouse.click(box["x"] + side / 2, box["y"] + side / 2)  # the first class, recognized
    first = min(ODD_NAMES, key=str.casefold)
    assert desktop.inner_text("#opened-title").startswith(f"{first}, recognized: {counts(report_file)[first, first]} ")
    card = desktop.locator("#opened figure").first
    assert card.locator("img").first.evaluate("image => image.complete && image.naturalWidth") == 32
    assert re.search(r"\d+\.\d %", card.locator(".bars").inner_text())
    assert card.locator(".picture canvas").count() == 1
    assert card.locator(".near img").count() == 2
    desktop.locator("#opened select.map-choice").select_option("none")
    assert desktop.locator("#opened .picture canvas").count() == 0
    desktop.locator("#opened select.map-choice").select_option("predicted")
    desktop.keyboard.press("Escape")
    assert desktop.locator("#opened").is_hidden()


def test_the_keyboard_alone_finds_a_confusion_opens_it_and_comes_back(desktop):
    desktop.focus("#matrix .cells")
    desktop.keyboard.press("n")
    assert "is taken for" in desktop.inner_text("#said")
    desktop.keyboard.press("Enter")
    assert " taken for " in desktop.inner_text("#opened-title")
    assert desktop.evaluate("document.activeElement.id") == "opened-title"
    desktop.keyboard.press("Escape")
    assert desktop.evaluate("document.activeElement.className") == "cells"


def test_a_pair_in_the_list_opens_as_many_photos_as_it_says(desktop):
    button = desktop.locator("button[data-cell]").first
    number = int(button.inner_text())
    button.click()
    assert desktop.inner_text("#opened-title").endswith(f": {number} photo" + ("s" if number > 1 else ""))
    assert desktop.locator("#opened figure").count() == min(number, 12)
    desktop.click("#close")


def test_the_search_keeps_what_it_finds_and_what_that_is_confused_with(desktop, report_file):
    width = desktop.locator("#matrix .cells canvas").bounding_box()["width"]
    confused = {pair for pair in counts(report_file) if ODD_NAMES[5] in pair}
    others = {name for pair in confused for name in pair} - {ODD_NAMES[5]}
    desktop.fill("#search", "none HERE")
    assert f"1 class found, shown with {len(others)} that" in desktop.inner_text("#found")
    desktop.fill("#search", "nothing of the kind")
    assert "No class has" in desktop.inner_text("#found")
    desktop.fill("#search", "")
    assert desktop.locator("#matrix .cells canvas").bounding_box()["width"] == width


def test_shares_orders_and_errors_only_change_the_drawing(desktop):
    drawn = [drawing(desktop)]
    for control, value in (("value", "row"), ("value", "column"), ("order", "error"), ("order", "together")):
        desktop.select_option(f"#choose-{control}", value)
        drawn.append(drawing(desktop))
    desktop.check("#choose-off")
    drawn.append(drawing(desktop))
    assert len(set(drawn)) == len(drawn)
    desktop.uncheck("#choose-off")
    desktop.select_option("#choose-value", "count")
    desktop.select_option("#choose-order", "name")
    assert drawing(desktop) == drawn[0]


def drawing(page: Any) -> str:
    return page.evaluate("document.querySelector('#matrix .cells canvas').toDataURL()")


def test_the_slider_says_what_remains_for_every_threshold(desktop, report_file):
    with report_file.with_name("predictions.csv").open(encoding="utf-8", newline="") as rows:
        found = [(float(row["confidence"]), row["label"] == row["predicted"]) for row in csv.DictReader(rows)]
    desktop.focus("#threshold")
    for threshold in (0.0, 0.4, 0.75, 0.95):
        desktop.evaluate(
            "(value) => { const slider = document.getElementById('threshold'); slider.value = value;"
            " slider.dispatchEvent(new Event('input')) }",
            threshold,
        )
        kept = [right for confidence, right in found if confidence >= threshold]
        said = desktop.inner_text("#refusing-said")
        assert f"{100 * sum(kept) / len(kept):.1f} % of the {len(kept)} answers" in said
        assert f"on {100 * len(kept) / len(found):.1f} % of the photos" in said
    desktop.keyboard.press("ArrowLeft")
    assert desktop.inner_text("#threshold-shown") == "0.945"


def test_a_table_is_sorted_by_a_click_and_by_the_keyboard(desktop):
    head = desktop.locator("#class-table th button").nth(1)
    head.click()
    numbers = desktop.locator("#class-table td:nth-child(2)").all_inner_texts()
    assert [int(each) for each in numbers] == sorted(int(each) for each in numbers)
    head.focus()
    desktop.keyboard.press("Enter")
    assert desktop.locator("#class-table td:nth-child(2)").all_inner_texts() == numbers[::-1]
    desktop.fill("input[data-filters=class-table]", "plain")
    assert desktop.locator("#class-table tbody tr:visible").count() == 1
    desktop.fill("input[data-filters=class-table]", "")


def test_names_are_text_wherever_they_stand(desktop):
    assert desktop.title() == "run <b>, test"
    assert desktop.locator("img[src=x]").count() == 0
    assert desktop.locator("#class-table tbody td:first-child").all_inner_texts().count(ODD_NAMES[0]) == 1
    assert desktop.locator("body b").evaluate_all("all => all.filter(each => each.textContent).length") == 0
    assert ODD_NAMES[3] in desktop.inner_text("#classes")


@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "light"), (PHONE, "dark"), (DESKTOP, "dark")])
def test_the_page_fits_its_screen_in_both_modes(browser, report_file, size, scheme):
    with watched(browser, report_file, size, scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        ground, ink = page.evaluate(
            "[document.documentElement, document.body].map(each => getComputedStyle(each))"
            ".map((style, place) => place ? style.color : style.backgroundColor)"
        )
        dark = sum(map(int, re.findall(r"\d+", ground)[:3])) < sum(map(int, re.findall(r"\d+", ink)[:3]))
        assert dark is (scheme == "dark")
        page.locator("#mistakes").scroll_into_view_if_needed()
        page.wait_for_selector("#mistakes figure img")


def test_a_page_of_three_hundred_classes_answers_a_click_at_once(browser, tmp_path):
    names = [f"class {number:03d}" for number in range(300)]
    with watched(browser, written(made_report(names, 1500, album=False), tmp_path), DESKTOP) as page:
        page.select_option("#choose-which", "errors")
        page.select_option("#choose-which", "all")
        took = page.evaluate(
            "async () => { const begin = performance.now(); document.querySelector('button[data-cell]').click();"
            " await new Promise(done => requestAnimationFrame(() => setTimeout(done)));"
            " return performance.now() - begin }"
        )
        assert page.locator("#opened figure").count() > 0
        assert took < 1000  # on a busy machine; benchmarks/report.py measures it
