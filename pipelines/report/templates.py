"""Fills the templates of pages and of the model card; every text that is put into a page is escaped."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from pipelines.console.escapes import visible
from pipelines.report.look import style_variables

_FOLDER = files("pipelines.report") / "templates"
# The parts of the script of a report, in their order.
_SCRIPTS = ("data.js", "photos.js", "matrix.js", "drawing.js", "tables.js", "refusing.js")


def render(template: str, **content: Any) -> str:
    """Returns a template filled with its content.

    Args:
        template: Name of a file in pipelines/report/templates.
        content: Values of the template's names.
    """
    return _environment().get_template(template).render(**content)


def filled(text: str, **content: Any) -> str:
    """Returns the text of a template, which stands elsewhere, filled with its content.

    Args:
        text: Text of the template; every value in it is escaped.
        content: Values of the template's names.
    """
    return _environment().from_string(text).render(**content)


def json_for_script(content: Any) -> Markup:
    """Returns JSON that can stand in a script element, where "<" could end it."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704  what HTML could read as markup is escaped


def page_style() -> Markup:
    """Returns the style sheet of all pages."""
    return Markup(f"{style_variables()}\n{_text('page.css')}")  # noqa: S704  a file of our own


def report_script() -> Markup:
    """Returns the script of a report."""
    body = "\n".join(_text(name) for name in _SCRIPTS)
    return Markup(f'"use strict";\n(() => {{\n{body}\n}})();')  # noqa: S704  files of our own


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_text),
        autoescape=lambda name: name != "card.md",  # noqa: S701  Markdown is no page
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        name=_name, plain=_plain, percent=percent, figure=figure, count=count, yaml=_yaml, cell=_cell
    )
    environment.globals.update(page_style=page_style, report_script=report_script)
    return environment


def percent(share: float | None, digits: int = 1) -> str:
    """Returns a share in percent, or a dash where there is none."""
    return "–" if share is None or share != share else f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def figure(value: float | None, digits: int = 3) -> str:
    """Returns a number with so many decimals, or a dash where there is none."""
    return "–" if value is None or value != value else f"{value:.{digits}f}"


def count(number: int) -> str:
    """Returns a whole number with commas between the thousands."""
    return f"{number:,}"


def _name(text: object) -> Markup:
    """A name of a file or class: escaped, with its own direction of writing, which does not turn what stands beside."""
    return Markup("<bdi>{}</bdi>").format(escape(visible(str(text))))


def _plain(text: object) -> str:
    """A name in an attribute, where there are no elements; it is escaped like every text."""
    return visible(str(text))


def _yaml(value: object) -> str:
    """A value in YAML, of which JSON is a part."""
    return json.dumps(visible(value) if isinstance(value, str) else value, ensure_ascii=False)


def _cell(text: object) -> str:
    """A text in a table of Markdown, in which no sign has a meaning."""
    shown = visible(str(text))
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|~$&" else sign for sign in shown)


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
