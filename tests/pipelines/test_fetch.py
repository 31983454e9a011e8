"""Pictures from the web: what a server may send, how long it may take, and where it may lead."""

import io
import socket
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pandas as pd
import pytest

from pipelines import predict as verb
from pipelines.config.judging import PredictConfig
from pipelines.data import connections, web
from pipelines.predict import predict


class Server(BaseHTTPRequestHandler):
    """Serves one picture, and what a server should not."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[dict] = {}
    dripped = 0

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.asked[self.path] = self.asked.get(self.path, 0) + 1
        places = {"/file": "file:///etc/passwd", "/circle": "/circle", "/moved": "/good.jpg"}
        if self.path in places:
            self._say(302, b"", Location=places[self.path])
        elif self.path in ("/good.jpg", "/K%C3%A4fer%201.jpg") or (self.path == "/busy" and self.asked[self.path] > 1):
            self._say(200, self.server.picture)
        elif self.path == "/busy":
            self._say(503, b"", **{"Retry-After": "0"})
        elif self.path == "/large":
            self._say(200, b"x" * 40_000)
        elif self.path == "/drip":
            self.send_response(200)
            self.end_headers()
            try:
                for Server.dripped in range(1, 101):
                    self.wfile.write(b"x")
                    time.sleep(0.05)
            except OSError:
                self.close_connection = True
        else:
            self._say(404, b"")

    def _say(self, status, body, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(images):
    """Yields the address of a server of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as found:
        found.picture = min(images.rglob("*.jpg")).read_bytes()
        found.daemon_threads = True
        threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{found.server_address[1]}"
        found.shutdown()


def test_addresses_are_fetched_within_bounds_and_each_failure_has_its_reason(
    finished, images, server, tmp_path, monkeypatch
):
    monkeypatch.setattr(web, "MAX_BYTES", 30_000)
    monkeypatch.setattr(verb, "TemporaryDirectory", temporary := Folders(tmp_path))
    reasons = {
        "/none": "the server answers 404 Not Found",
        "/file": "it leads to what is neither http nor https, and is not followed",
        "/circle": "more than 5 redirects, or one that leads in a circle",
        "/large": "40,000 bytes, more than 30,000",
    }
    good = ["/good.jpg", "/moved", "/busy", "/Käfer 1.jpg"]
    names = [f"{server}{path}" for path in (*reasons, *good)]
    file, out = str(min(images.rglob("*.jpg"))), tmp_path / "answers.csv"
    assert predict(PredictConfig(str(finished.path), (*names, file), out=str(out))) is True
    table, others = pd.read_csv(out), pd.read_csv(tmp_path / "answers.csv.left-out.csv")
    assert dict(zip(others["path"], others["reason"], strict=True)) == {
        f"{server}{path}": reason for path, reason in reasons.items()
    }
    assert list(table["path"]) == [*(f"{server}{path}" for path in good), file]
    assert len(set(table["confidence"])) == 1  # all are the same picture
    assert temporary.left == []


class Folders:
    """Makes temporary folders as Python does, and remembers what was left in them at their end."""

    def __init__(self, place):
        self.place, self.left = place / "temporary", None

    def __call__(self, **_):
        return self

    def __enter__(self):
        self.place.mkdir()
        return str(self.place)

    def __exit__(self, *_):
        self.left = list(self.place.iterdir())


def test_a_fetch_ends_in_time_also_where_its_connection_is_made_too_late(server, tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "MAX_SECONDS", 0.3)
    with pytest.raises(web.NotFetched, match=r"it took more than 0\.3 seconds"):
        web.Fetcher(tmp_path).fetch(f"{server}/drip")
    connect = socket.create_connection

    def late(*arguments, **options):
        time.sleep(0.7)
        return connect(*arguments, **options)

    monkeypatch.setattr(socket, "create_connection", late)
    with pytest.raises(web.NotFetched, match=r"it took more than 0\.3 seconds"):
        web.Fetcher(tmp_path).fetch(f"{server}/drip")
    assert Server.dripped < 100  # it was not waited for


def test_an_address_that_is_none_is_not_the_fault_of_a_server(tmp_path):
    for address in ("http://[::1/a.jpg", "http://ä..example/a.jpg", "http://example.org:photo/a.jpg"):
        with pytest.raises(web.NotFetched, match="no address that can be understood"):
            web.Fetcher(tmp_path).fetch(address)


def answers_of_names(monkeypatch, **known):
    """Lets names of servers stand for some addresses."""
    look_up = socket.getaddrinfo

    def getaddrinfo(host, *arguments, **options):
        return [each for one in known.get(host, (host,)) for each in look_up(one, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_a_public_server_does_not_lead_to_a_private_address(monkeypatch):
    answers_of_names(monkeypatch, both=("8.8.8.8", "10.0.0.1"))
    for server in ("8.8.8.8", "both"):
        request = urllib.request.Request(f"https://{server}/photo.jpg")
        for address in ("169.254.169.254", "127.0.0.1", "10.0.0.1", "[::1]", "%31%30.0.0.1"):
            with pytest.raises(web.NotFetched, match="private address"):
                connections.Redirects().redirect_request(request, io.BytesIO(), 302, "", {}, f"https://{address}/")
        with pytest.raises(urllib.error.URLError, match="which is not followed"):
            connections.Redirects().redirect_request(request, io.BytesIO(), 302, "", {}, "http://8.8.8.8/")
    to_itself = connections.Redirects().redirect_request(request, io.BytesIO(), 302, "", {}, "https://both/a.jpg")
    assert to_itself.host == "both"


def test_a_name_that_leads_elsewhere_than_it_said_is_noticed_when_it_is_connected(server, tmp_path, monkeypatch):
    """The first connection is taken for one to a public address, since this machine has no server at such a one."""
    public = iter([True, False])
    monkeypatch.setattr(connections, "_is_public", lambda _: next(public))
    with pytest.raises(web.NotFetched, match=r"it leads to 127\.0\.0\.1, which is a private address"):
        web.Fetcher(tmp_path).fetch(f"{server}/moved")
