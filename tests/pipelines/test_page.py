"""The page of a run: its answers are those of `predict`, and what it is asked has limits."""

import io
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from werkzeug.test import Client

from pipelines.cli import main
from pipelines.evaluation.pictures import predict_images
from pipelines.runs.directory import Run
from pipelines.serving import answers as answers_module
from pipelines.serving import page_app
from pipelines.serving.answers import Answers
from pipelines.serving.browser_files import POLICY
from pipelines.serving.page_app import PhotoRequest, application, check_sender
from pipelines.serving.training_photos import TrainingPhotos

HOME = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def answers(finished: Run) -> Answers:
    return Answers(finished)


@pytest.fixture(scope="module")
def training(finished: Run, answers: Answers) -> Iterator[TrainingPhotos]:
    photos = TrainingPhotos(finished, None)
    photos.look(answers.explainer, answers.network, answers.spec)
    wait_for(lambda: not photos.waiting)
    yield photos
    photos.stop()


@pytest.fixture
def client(answers: Answers, training: TrainingPhotos) -> Client:
    return Client(application(answers, training, {"/": ("text/html", "<p>page")}, "127.0.0.1"))


def wait_for(condition: Any, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def ask(client: Client, *photos: tuple[str, bytes], where: str = "/predict", **more: Any) -> Any:
    data = {"photo": [(io.BytesIO(content), name) for name, content in photos]}
    return client.post(where, base_url=HOME, data=data, **more)


def photo(kind: str = "PNG", size: tuple[int, int] = (40, 30), mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def test_the_answers_equal_those_of_predict_and_each_wrong_file_is_named(client, finished, images):
    files = [sorted((images / name).iterdir())[0] for name in sorted(os.listdir(images))]
    sent = [(file.name, file.read_bytes()) for file in files]
    wrong = [("<b>.png", b"\x89PNG\r\n\x1a\nno picture"), ("notes.txt", b"no picture"), ("nothing.jpg", b"")]
    answered = ask(client, *wrong, *sent).get_json()["photos"]
    assert [each["name"] for each in answered] == [name for name, _ in [*wrong, *sent]]
    assert all("error" in each and "probabilities" not in each for each in answered[:3])
    expected = predict_images(finished, files)
    for (_, row), each in zip(expected.iterrows(), answered[3:], strict=True):
        assert each["probabilities"] == {name[2:]: row[name] for name in expected.columns if name.startswith("p:")}
        assert (each["predicted"], each["confidence"]) == (row["predicted"], row["confidence"])
        assert each["decision"] == row["decision"]


def test_an_explained_answer_has_maps_and_the_photo_itself_is_the_nearest_training_photo(client, finished, images):
    rows = [row.split(",") for row in finished.manifest.read_text().splitlines()]
    path = next(row[0] for row in rows[1:] if "train" in row)
    (answer,) = ask(client, ("a.png", (images / path).read_bytes()), where="/predict?explain=1").get_json()["photos"]
    assert len(answer["evidence"]["maps"]) == 3
    assert answer["predicted"] in answer["evidence"]["maps"]
    assert answer["nearest"][0]["path"] == path
    assert answer["nearest"][0]["similarity"] == pytest.approx(1.0, abs=1e-5)
    assert answer["picture"].startswith("data:image/webp;base64,")


def test_training_photos_that_are_gone_or_outside_of_their_folder_are_not_shown(finished, tmp_path):
    assert "--data" in TrainingPhotos(finished, str(tmp_path)).said
    (tmp_path / "run").mkdir()
    copy = Run(tmp_path / "run")
    for file in (finished.config, finished.manifest):
        shutil.copy(file, copy.path)
    data = tmp_path / "photos"
    data.mkdir()
    path = next(row for row in finished.manifest.read_text().splitlines()[1:] if "train" in row).split(",")[0]
    (data / path).parent.mkdir()
    (tmp_path / "secret.png").write_bytes(photo())
    (data / path).symlink_to(tmp_path / "secret.png")
    assert "--data" in TrainingPhotos(copy, str(data)).said


@pytest.mark.parametrize(
    ("asked", "origin", "right"),
    [
        ("127.0.0.1:8000", None, True),
        ("localhost:8000", "http://localhost:8000", True),
        ("[::1]:8000", "http://[::1]:8000", True),
        ("photos.lan:8000", None, True),
        ("evil.example:8000", None, False),  # a name that leads to this machine
        ("127.0.0.1.evil.example", None, False),
        ("[::1", None, False),
        ("", None, False),
        ("127.0.0.1:8000", "http://evil.example", False),
        ("127.0.0.1:8000", "http://127.0.0.1:8001", False),  # another server of this machine
        ("127.0.0.1:8000", "null", False),
        ("127.0.0.1:8000", "http://[", False),
    ],
)
def test_only_the_page_itself_and_programs_are_answered(asked, origin, right):
    if right:
        check_sender(asked, origin, "photos.lan")
    else:
        with pytest.raises(page_app.Forbidden):
            check_sender(asked, origin, "photos.lan")


def test_every_answer_has_a_strict_policy_no_cookie_and_no_path_leads_elsewhere(client):
    for path in ("/", "/status", "/predict", "/../pipelines/page.py", "/%2e%2e/etc/passwd", "//etc/passwd"):
        response = client.get(path, base_url=HOME)
        assert response.status_code == {"/": 200, "/status": 200, "/predict": 405}.get(path, 404), path
        assert response.headers["Content-Security-Policy"] == POLICY
        assert "Set-Cookie" not in response.headers
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert client.get("/", base_url="http://evil.example:8000").status_code == 403
    assert client.post("/", base_url=HOME).status_code == 405


def test_too_much_is_refused_by_name_or_in_one_sentence(client, monkeypatch):
    monkeypatch.setattr(page_app, "MOST_BYTES", 5000)
    monkeypatch.setattr(answers_module, "MOST_PIXELS", 3000)
    large, wide, good = photo(size=(60, 40)), photo("PNG", (1000, 4), "1"), photo("JPEG")
    assert len(large) > 5000 > len(wide)
    found = ask(client, ("large.png", large), ("wide.png", wide), ("good.jpg", good)).get_json()["photos"]
    assert [each.get("error", "")[-20:] for each in found][2] == ""
    assert "MiB, more than" in found[0]["error"]
    assert "1000×4 pixels, more than 3,000" in found[1]["error"]
    assert "at most 16" in ask(client, *[("a.png", b"")] * 17).get_json()["error"]
    assert "named 'photo'" in client.post("/predict", base_url=HOME, data=b"raw").get_json()["error"]
    monkeypatch.setattr(PhotoRequest, "max_content_length", 1000)
    response = ask(client, ("good.jpg", good))
    assert response.status_code == 413
    assert "send fewer photos" in response.get_json()["error"]


def test_requests_beyond_a_number_are_asked_to_come_back_and_a_failure_does_not_end_the_page(
    answers, training, monkeypatch, capfd
):
    monkeypatch.setattr(page_app, "MOST_AT_ONCE", 1)
    client = Client(application(answers, training, {}, "127.0.0.1"))
    entered, leave = threading.Event(), threading.Event()

    def about(*_: object) -> list[dict[str, Any]]:
        entered.set()
        leave.wait(20)
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(answers, "about", about)
    first: list[Any] = []
    thread = threading.Thread(target=lambda: first.append(ask(client, ("a.jpg", photo("JPEG")))))
    thread.start()
    assert entered.wait(20)
    assert ask(client, ("b.jpg", photo("JPEG"))).status_code == 503
    leave.set()
    thread.join()
    assert first[0].status_code == 500
    assert "a fault" in capfd.readouterr().err
    assert ask(client, ("b.jpg", photo("JPEG"))).status_code == 500  # the place is free again


def test_the_command_says_its_address_and_ctrl_c_ends_it(finished, capfd):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["page", str(finished.path), "--port", str(port)]) == 2
    assert f"port {port}: Address already in use" in capfd.readouterr().err
    said: list[bytes] = []

    def ask_and_end() -> None:
        wait_for(lambda: ask_status(port, said))
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=ask_and_end, daemon=True).start()
    assert main(["page", str(finished.path), "--port", str(port)]) == 0
    assert said[0].startswith(b"HTTP/1.1 200")
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith(f"http://127.0.0.1:{port}/ ")
    assert lines[-1] == "ended"


def ask_status(port: int, said: list[bytes]) -> bool:
    """Asks the page how it is; what it says is appended."""
    try:
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            connection.sendall(b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            said.append(connection.recv(100))
    except OSError:
        return False
    return bool(said[-1])
