"""The page of a run and its web export in a real browser: photos are chosen, dropped, pasted and taken."""

import base64
import io
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from werkzeug.serving import make_server

from pipelines.images.decode import decode_region
from pipelines.images.stream import InputSpec
from pipelines.page import page_files
from pipelines.runs.directory import Run
from pipelines.serving import page_app
from pipelines.serving.answers import Answers
from pipelines.serving.page_app import application
from pipelines.serving.training_photos import Looking, TrainingPhotos
from tests.pipelines.browsers import DESKTOP, PHONE, chromium, opened, served

SCRIPTS = Path(__file__).parents[2] / "pipelines" / "serving" / "browser"
MARKUP = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def answers(finished: Run, browser: Any) -> Answers:
    """Returns the answers of a run that is unsure of every answer below the surest."""
    answers = Answers(finished)
    assert answers.calibration is not None
    answers.calibration = replace(answers.calibration, threshold=1.0)
    return answers


@contextmanager
def answering(finished: Run, answers: Answers, training: TrainingPhotos) -> Iterator[str]:
    app = application(answers, training, page_files(finished, answers), ["127.0.0.1"])
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.port}/"
    training.stop()
    server.shutdown()


@pytest.fixture(scope="module")
def address(finished: Run, answers: Answers) -> Iterator[str]:
    """Yields the address of a page that looks at the training photos."""
    training = TrainingPhotos(finished, None)
    with answering(finished, answers, training) as address:
        training.look(answers.explainer, answers.network, answers.spec)
        yield address


def drawn(images: Path, number: int = 0) -> bytes:
    return sorted(images.rglob("*.*"))[number].read_bytes()


def give(page: Any, how: str, name: str, content: bytes) -> None:
    """Drops a photo on the page, or pastes it, as a person does."""
    page.evaluate(
        """([how, name, content]) => {
          const data = new DataTransfer();
          data.items.add(new File([Uint8Array.from(atob(content), (sign) => sign.charCodeAt(0))], name));
          const more = { bubbles: true, cancelable: true };
          document.body.dispatchEvent(how === "drop"
            ? new DragEvent("drop", { ...more, dataTransfer: data })
            : new ClipboardEvent("paste", { ...more, clipboardData: data }));
        }""",
        [how, name, base64.b64encode(content).decode()],
    )


def chosen(page: Any, *photos: tuple[str, bytes]) -> None:
    before = page.locator(".card h2").count()
    page.set_input_files("#files", [{"name": name, "mimeType": "", "buffer": content} for name, content in photos])
    page.locator(".card h2").nth(before + len(photos) - 1).wait_for()


def test_photos_are_chosen_dropped_pasted_and_taken_and_each_gets_its_answer(browser, address, images):
    with opened(browser, address) as page:
        chosen(page, ("first.png", drawn(images)), (MARKUP, b"no picture"))
        give(page, "drop", "dropped.png", drawn(images, 1))
        give(page, "paste", "pasted.png", drawn(images, 2))
        page.click("#camera")
        page.locator("#video").evaluate(
            "video => new Promise((done) => (video.videoWidth ? done() : video.onloadeddata = done))"
        )
        page.click("#shoot")
        page.locator(".card h2").nth(4).wait_for()
        assert page.locator(".card .name").all_inner_texts() == [
            *("camera 1.png", "pasted.png", "dropped.png", MARKUP, "first.png")
        ]
        cards = page.locator(".card")
        assert "no answer" in cards.nth(3).inner_text()
        assert "not an image" in cards.nth(3).inner_text()
        answer = cards.nth(4)
        assert answer.locator("h2").inner_text().startswith("not sure; most like ")
        assert len(re.findall(r"\d+\.\d %", answer.locator(".bars").inner_text())) == 3
        assert answer.locator("img").first.evaluate("image => image.complete && image.naturalWidth") == 48
        answer.locator(".near img").nth(2).wait_for()
        page.click("#clear")
        assert cards.count() == 0


def is_busy(response: Any) -> bool:
    return response.status == 503


def test_many_photos_get_their_nearest_ones_though_the_machine_answers_one_request_at_a_time(
    browser, finished, answers, images, monkeypatch
):
    monkeypatch.setattr(page_app, "MOST_AT_ONCE", 1)
    training = TrainingPhotos(finished, None)
    training.looking = Looking.NOW
    with answering(finished, answers, training) as address, opened(browser, address, allowed="status of 503") as page:
        with socket.create_connection(("127.0.0.1", urlsplit(address).port)) as other, page.expect_response(is_busy):
            other.sendall(b"POST /nearest HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n")
            first = {"name": "first.png", "mimeType": "", "buffer": drawn(images)}
            page.set_input_files("#files", [first])
        page.locator(".card h2").wait_for()
        chosen(page, *((f"{number}.png", drawn(images, number)) for number in range(1, 6)))
        training.look(answers.explainer, answers.network, answers.spec)
        chosen(page, ("last.png", drawn(images, 6)))
        page.locator(".near").nth(6).wait_for()
        assert page.locator(".is-wrong").count() == 0


def test_a_pasted_text_changes_nothing(browser, address):
    with opened(browser, address) as page:
        page.evaluate(
            """const clipboardData = new DataTransfer();
            document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));"""
        )
        assert page.locator("#clear").is_hidden()


def test_the_keyboard_shows_the_map_of_another_class_and_hides_it(browser, address, images):
    with opened(browser, address) as page:
        chosen(page, ("a.png", drawn(images)))
        buttons, drawing = page.locator(".bars button"), page.locator(".picture canvas")
        first = drawing.evaluate("canvas => canvas.toDataURL()")
        buttons.nth(1).focus()
        page.keyboard.press("Enter")
        assert buttons.nth(1).get_attribute("aria-pressed") == "true"
        assert drawing.evaluate("canvas => canvas.toDataURL()") != first
        page.keyboard.press("Enter")
        assert drawing.count() == 0


@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "dark"), (DESKTOP, "light")])
def test_the_page_fits_its_screen_in_both_modes(browser, address, images, size, scheme):
    with opened(browser, address, size, scheme) as page:
        chosen(page, (f"{'long' * 40}.png", drawn(images)))
        assert page.locator("html").evaluate("page => page.scrollWidth") <= size["width"]
        ground = page.locator("html").evaluate("page => getComputedStyle(page).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 384) is (scheme == "dark")


def encoded(picture: Image.Image, kind: str, orientation: int = 1, **options: Any) -> bytes:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    picture.save(buffer, kind, **options, **({"exif": exif} if orientation != 1 else {}))
    return buffer.getvalue()


def smooth(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Returns a picture with soft shapes, in which a shift by a pixel is seen."""
    noise = np.random.default_rng(0).integers(60, 196, (7, 9, 4), np.uint8)
    bands = [Image.fromarray(noise[..., band]).resize((width, height), Image.Resampling.BICUBIC) for band in range(4)]
    return Image.merge("RGBA", bands) if mode == "RGBA" else Image.merge("RGB", bands[:3]).convert(mode)


# The largest and the mean difference in levels. Where both decode all pixels, a sum that ends in a half may be rounded
# to the other side. Alpha over white is rounded once more. Means of blocks stand for libjpeg's own smaller decoding.
PHOTOS = {
    "turned.jpg": (encoded(smooth(120, 90), "JPEG", 6, quality=90), 6, 1, 0.01),
    "gray.jpg": (encoded(smooth(90, 61, "L"), "JPEG"), 1, 1, 0.01),
    "large.jpg": (encoded(smooth(640, 451), "JPEG", quality=95), 1, 3, 0.5),
    "alpha.png": (encoded(smooth(70, 64, "RGBA"), "PNG"), 1, 1, 0.25),
    "palette.png": (encoded(smooth(70, 64).quantize(20), "PNG"), 1, 1, 0.01),
    "wide.webp": (encoded(smooth(300, 40), "WEBP", lossless=True), 1, 1, 0.01),
}


@pytest.fixture(scope="module")
def decoding(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Yields a function that decodes a file's bytes in the browser, for a view; it returns the pixels, or an error."""
    folder = tmp_path_factory.mktemp("scripts")
    (folder / "empty.html").write_text("<!doctype html><link rel=icon href=data:,>")
    for name in ("picture.js", "view.js"):
        shutil.copy(SCRIPTS / name, folder)
    with served(folder) as address, opened(browser, f"{address}empty.html") as page:
        yield lambda content, view: page.evaluate(
            """async ([content, view]) => {
              const { pictureOf } = await import("./picture.js");
              const file = new Blob([Uint8Array.from(atob(content), (sign) => sign.charCodeAt(0))]);
              return pictureOf(file, view, 1_000_000).then(({ image }) => [...image], (error) => error.message);
            }""",
            [base64.b64encode(content).decode(), view],
        )


@pytest.mark.parametrize("view", ["crop", "squeeze", "pad"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_browser_sees_the_same_pixels(decoding, tmp_path, view, interpolation):
    spec = InputSpec(64, 0.875, interpolation, view=view)
    said = {"size": 64, "side": 73 if view == "crop" else 64, "view": view, "interpolation": interpolation}
    for name, (content, orientation, most, mean) in PHOTOS.items():
        (tmp_path / name).write_bytes(content)
        file, with_pillow = tf.constant(str(tmp_path / name)), tf.constant(not name.endswith("jpg"))
        ours = decode_region(file, with_pillow, tf.constant(orientation), spec.evaluation_region).numpy().astype(int)
        difference = np.abs(np.reshape(decoding(content, said), ours.shape) - ours)
        assert difference.max() <= most, name
        assert difference.mean() <= mean, name


REFUSED = {
    "CMYK": encoded(smooth(40, 30, "CMYK"), "JPEG"),
    "a JPEG that ends before": encoded(smooth(40, 30), "JPEG")[:600],
    "16 bits": encoded(Image.fromarray(np.zeros((9, 9), np.uint16)), "PNG"),
    "a PNG that ends before": encoded(smooth(40, 30), "PNG")[:-300],
    "can read: TIFF": encoded(smooth(40, 30), "TIFF"),
    "more than 1,000,000": encoded(Image.new("1", (1001, 1000)), "PNG"),
    "an empty file": b"",
    "no picture": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_a_browser_would_show_differently_is_refused_by_name(decoding, reason):
    said = decoding(REFUSED[reason], {"size": 32, "side": 32, "view": "squeeze", "interpolation": "bilinear"})
    assert reason in said
