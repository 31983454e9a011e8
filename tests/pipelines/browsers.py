"""A real Chromium for tests, and pages in it that must neither complain nor ask other hosts for anything."""

import functools
import http.server
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@contextmanager
def chromium() -> Iterator[Any]:
    """Yields a browser with a camera that shows a test picture."""
    if not CHROMIUM.exists():
        pytest.skip(f"there is no Chromium at {CHROMIUM}; CHROMIUM names another one")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is in requirements-dev.txt")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=str(CHROMIUM), args=_CAMERA)
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Any, address: str, size: dict[str, int] = DESKTOP, scheme: str = "light", allowed: str = "nothing"
) -> Iterator[Any]:
    """Yields a page that must say nothing in the console but what is allowed, and ask no other host for anything."""
    context, wrong = browser.new_context(viewport=size, color_scheme=scheme), []
    page = context.new_page()
    page.set_default_timeout(90_000)  # milliseconds; a busy machine takes many seconds for an answer
    page.on("console", lambda message: None if allowed in message.text else wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append("a name was run as a script"))
    own = (address.rpartition("/")[0] + "/", "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(own) else wrong.append(request.url))
    page.goto(address)
    yield page
    context.close()
    assert not wrong, wrong


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Yields the address of a folder that is served as any static host does it."""
    handler = functools.partial(_Silent, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
