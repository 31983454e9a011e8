"""The files of a page that answers about photos; `page` serves them, and the web export puts them into a folder.

Both have the same look and the same script. What differs is one module, answer.js: it asks the machine that serves the
page, or computes in the browser.
"""

from importlib.resources import files
from typing import Any

from pipelines.report.templates import filled, json_for_script, page_style

# Pixels of the largest photo that is decoded: a third of a gigabyte in RGB.
MOST_PIXELS = 120_000_000
_FOLDER = files("pipelines.serving") / "browser"
# What the page may do: load what is beside it, show pictures that it has made, and nothing else.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def index_page(title: str, lead: str, facts: dict[str, Any], policy: str = "") -> str:
    """Returns the page itself, as HTML.

    Args:
        title: Title of the page.
        lead: Sentence below it.
        facts: What the scripts need to know, such as the number of classes.
        policy: Content-Security-Policy that the page states itself, where no server states one.
    """
    return filled(text_of("ask.html"), title=title, lead=lead, facts=json_for_script(facts), policy=policy)


def style() -> str:
    """Returns the style sheet of the page."""
    return f"{page_style()}\n{text_of('ask.css')}"


def text_of(name: str) -> str:
    """Returns the text of one of the files in pipelines/serving/browser."""
    return (_FOLDER / name).read_text(encoding="utf-8")
