"""The page of a run: its answers are those of `predict`, and what it is asked has limits."""

import base64
import io
import json
import os
import re
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

from pipelines import page as page_module
from pipelines.cli import main
from pipelines.data.manifest import fingerprint, load_manifest
from pipelines.evaluation.pictures import predict_images
from pipelines.page import page_server
from pipelines.runs.directory import Run, read_config
from pipelines.serving import answers as answers_module
from pipelines.serving import page_app
from pipelines.serving.answers import Answers
from pipelines.serving.browser_files import POLICY
from pipelines.serving.listening import listening, names_of
from pipelines.serving.page_app import MOST_BYTES_OF_FEATURES, PhotoRequest, application, check_sender
from pipelines.serving.training_photos import Looking, TrainingPhotos

HOME = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def answers(finished: Run) -> Answers:
    return Answers(finished)


@pytest.fixture(scope="module")
def training(finished: Run, answers: Answers) -> Iterator[TrainingPhotos]:
    photos = TrainingPhotos(finished, None)
    photos.look(answers.explainer, answers.network, answers.spec)
    wait_for(lambda: photos.looking is not Looking.NOW)
    yield photos
    photos.stop()


@pytest.fixture
def client(answers: Answers, training: TrainingPhotos) -> Client:
    return Client(application(answers, training, {"/": ("text/html", "<p>page")}, ["127.0.0.1"]))


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
    later = client.post("/nearest", base_url=HOME, data=answer["features"]).get_json()
    assert later["nearest"] == answer["nearest"]


def test_features_that_are_none_are_refused_in_one_sentence(client):
    for wrong in (b"", b"no base64", base64.b64encode(b"123"), base64.b64encode(np.float32([np.nan]).tobytes())):
        response = client.post("/nearest", base_url=HOME, data=wrong)
        assert response.status_code == 400
        assert "the body must be the 'features'" in response.get_json()["error"]
    few = client.post("/nearest", base_url=HOME, data=base64.b64encode(np.float32([1, 2]).tobytes()))
    assert few.get_json()["error"].endswith("features, received 2")
    assert client.post("/nearest", base_url=HOME, data=b"A" * (MOST_BYTES_OF_FEATURES + 1)).status_code == 413


def test_photos_with_too_many_pixels_together_are_not_decoded_at_a_time(answers, client, monkeypatch):
    monkeypatch.setattr(answers_module, "MOST_PIXELS", 3000)
    groups = []
    inspect = answers_module.readable_rows
    monkeypatch.setattr(answers_module, "readable_rows", lambda files: (groups.append(len(files)), inspect(files))[1])
    sizes = ((40, 30), (40, 30), (40, 30), (99, 99), (10, 10))  # the fourth is refused
    sent = [(f"{width}.png", photo(size=(width, height))) for width, height in sizes]
    found = ask(client, *sent).get_json()["photos"]
    assert groups == [2, 2]
    assert ["predicted" in each for each in found] == [True, True, True, False, True]
    assert [each["name"] for each in found] == [name for name, _ in sent]


def test_training_photos_that_are_gone_or_outside_of_their_folder_are_not_shown(finished, tmp_path):
    assert f"is in --data {str(tmp_path)!r}" in TrainingPhotos(finished, str(tmp_path)).said
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


def test_an_imported_network_says_that_it_has_no_training_photos(finished, tmp_path):
    copy = Run(tmp_path)
    manifest, config = load_manifest(finished.manifest).iloc[:0], read_config(finished.config)
    config["data"]["fingerprint"] = fingerprint(manifest)  # as `import` makes them without images
    manifest.to_csv(copy.manifest, index=False)
    copy.config.write_text(json.dumps(config))
    assert "imported" in TrainingPhotos(copy, None).said


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
        check_sender(asked, origin, ["photos.lan"])
    else:
        with pytest.raises(page_app.Forbidden):
            check_sender(asked, origin, ["photos.lan"])


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
    client = Client(application(answers, training, {}, ["127.0.0.1"]))
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
    shown, said = [""], []

    def ask_and_end() -> None:
        def address() -> Any:
            shown[0] += capfd.readouterr().out
            return re.search(r"^http://127\.0\.0\.1:(\d+)/ .*\n", shown[0])

        try:
            wait_for(address)
            with socket.create_connection(("127.0.0.1", int(address()[1])), 20) as connection:
                connection.sendall(b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                said.append(connection.recv(100))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=ask_and_end, daemon=True).start()
    assert main(["page", str(finished.path)]) == 0
    assert said[0].startswith(b"HTTP/1.1 200")
    assert (shown[0] + capfd.readouterr().out).splitlines()[-1] == "ended"


def test_a_request_that_drips_is_not_waited_for_for_ever(answers, training, monkeypatch):
    monkeypatch.setattr(page_module, "_LONGEST", 0.3)
    with listening("127.0.0.1", 0) as listener:
        server = page_server(listener, application(answers, training, {}, ["127.0.0.1"]))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
            head = b"POST /nearest HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n"
            connection.sendall(head + b"a part")
            assert connection.recv(100).startswith(b"HTTP/1.1 400")  # and not after page._PATIENCE
        server.shutdown()


def test_a_server_at_all_addresses_names_one_that_others_find():
    with listening("127.0.0.1", 0) as listener:
        assert names_of("localhost", listener) == ["localhost"]
    with listening("0.0.0.0", 0) as listener:
        names = names_of("0.0.0.0", listener)
    assert "0.0.0.0" not in names
    assert socket.gethostname() in names
    check_sender(f"{socket.gethostname()}:8000", None, names)
