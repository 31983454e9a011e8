"""Downloads, from small servers on this machine."""

import fcntl
import hashlib
import os
import re
import resource
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from resnet_tf.errors import UserError
from resnet_tf.redirects import WebRedirects
from resnet_tf.weights import download as module
from resnet_tf.weights.download import download

CONTENT = bytes(range(256)) * 2000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT at any address, and ranges of it."""

    def log_message(self, *arguments):
        """Logs nothing."""

    def do_GET(self):
        self.server.ranges.append(self.headers["Range"])
        start = self.first_byte()
        if start and start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", self.content_range(start))
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.send(CONTENT[start:])

    def first_byte(self):
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        return int(asked[1]) if asked else 0

    def content_range(self, start):
        return f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"

    def send(self, content):
        self.wfile.write(content)


class BreaksOffOnce(Server):
    """Sends half of the file at the first request."""

    def send(self, content):
        super().send(content[: len(content) // 2] if len(self.server.ranges) == 1 else content)


class IgnoresRanges(BreaksOffOnce):
    def first_byte(self):
        return 0


class LiesAboutRanges(BreaksOffOnce):
    """Sends the whole file as if it were the rest, and says so in Content-Range."""

    def first_byte(self):
        start = super().first_byte()
        return 1 if start else 0

    def content_range(self, start):
        return f"bytes 1-{len(CONTENT) - 1}/{len(CONTENT)}"


class SendsOtherBytes(Server):
    def send(self, content):
        super().send(content[:-1] + b"?")


class HasNoSuchFile(Server):
    def do_GET(self):
        self.send_error(404)


class HasNothing(Server):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()


class FallsSilent(Server):
    def send(self, content):
        super().send(content[:1000])
        self.wfile.flush()
        time.sleep(2)


class SaysNoLength(Server):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.send(CONTENT)


class IsSlow(Server):
    def send(self, content):
        for start in range(0, len(content), 2**16):
            super().send(content[start : start + 2**16])
            time.sleep(0.02)


class Redirects(Server):
    """Redirects /weights.h5?ADDRESS to the address, and /round to itself."""

    def do_GET(self):
        address = "/round" if self.path == "/round" else self.path.partition("?")[2]
        if not address:
            return super().do_GET()
        self.send_response(302)
        self.send_header("Location", address)
        self.end_headers()


@pytest.fixture
def serve():
    """Yields a function that starts a server and returns the address of a file on it.

    The requested ranges are in `serve.ranges`.
    """
    servers = []

    def start(handler=Server):
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.ranges = start.ranges = []
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/weights.h5"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "models" / "weights.h5"


def files_beside(target):
    return sorted(path.name for path in target.parent.iterdir())


def test_a_file_is_downloaded_once(serve, target):
    url = serve()
    assert download(url, target, DIGEST) == target
    assert target.read_bytes() == CONTENT
    assert files_beside(target) == ["weights.h5"]
    assert download(url, target, DIGEST.upper()) == target
    assert serve.ranges == [None]


def test_other_hashes_are_known(serve, target):
    download(serve(), target, hashlib.md5(CONTENT).hexdigest(), algorithm="md5")
    assert target.read_bytes() == CONTENT


def test_an_older_file_is_replaced_only_by_the_right_one(serve, target):
    target.parent.mkdir(parents=True)
    target.write_bytes(b"older")
    with pytest.raises(UserError):
        download(serve(SendsOtherBytes), target, DIGEST)
    assert target.read_bytes() == b"older"
    download(serve(), target, DIGEST)
    assert target.read_bytes() == CONTENT


def test_a_wrong_hash_keeps_no_file(serve, target):
    with pytest.raises(UserError, match=f"sha256 hash is [0-9a-f]{{64}}, not {DIGEST}"):
        download(serve(SendsOtherBytes), target, DIGEST)
    assert files_beside(target) == []


@pytest.mark.parametrize(
    ("handler", "second_range"),
    [(BreaksOffOnce, "half"), (IgnoresRanges, "half, then all"), (LiesAboutRanges, "half, then all")],
)
def test_a_download_that_broke_off_goes_on_or_begins_anew(handler, second_range, serve, target):
    url = serve(handler)
    half = len(CONTENT) // 2
    with pytest.raises(UserError, match=f"the connection ended after {half:,} of {len(CONTENT):,} bytes"):
        download(url, target, DIGEST)
    assert files_beside(target) == ["weights.h5.part"]
    assert (target.parent / "weights.h5.part").read_bytes() == CONTENT[:half]
    download(url, target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert files_beside(target) == ["weights.h5"]
    expected = [None, f"bytes={half}-"] + ([None] if second_range == "half, then all" else [])
    assert serve.ranges == expected


def test_a_part_that_is_too_long_begins_anew(serve, target):
    target.parent.mkdir(parents=True)
    (target.parent / "weights.h5.part").write_bytes(CONTENT + b"more")
    download(serve(), target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert serve.ranges == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_part_of_another_file_is_noticed_by_the_hash_and_gone_at_the_next_try(serve, target):
    target.parent.mkdir(parents=True)
    (target.parent / "weights.h5.part").write_bytes(b"something else")
    url = serve()
    with pytest.raises(UserError, match="hash"):
        download(url, target, DIGEST)
    download(url, target, DIGEST)
    assert target.read_bytes() == CONTENT


def test_a_server_that_says_no_length_is_judged_by_the_hash(serve, target):
    download(serve(SaysNoLength), target, DIGEST)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("404", "the server answers 404 Not Found"),
        ("silent", r"nothing came for 0\.3 seconds"),
        ("gone", "refused"),
        ("204", "the server answers 204"),
    ],
)
def test_a_failure_names_the_address_the_reason_and_the_place(trouble, reason, serve, target, monkeypatch):
    monkeypatch.setattr(module, "STALLED_SECONDS", 0.3)
    handlers = {"404": HasNoSuchFile, "204": HasNothing, "silent": FallsSilent}
    url = serve(handlers[trouble]) if trouble in handlers else "http://127.0.0.1:9/weights.h5"
    with pytest.raises(UserError, match=reason) as caught:
        download(url, target, DIGEST)
    assert url in str(caught.value)
    assert f"put it at {str(target)!r}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not target.exists()
    assert trouble == "silent" or files_beside(target) == []


@pytest.mark.parametrize(
    "url", ["file:///etc/hosts", "ftp://127.0.0.1/w", "weights.h5", "http://", "http://[", "http://a b/", "http://h:x/"]
)
def test_an_address_that_is_none_is_refused(url, target):
    with pytest.raises(UserError, match="could not download") as caught:
        download(url, target, DIGEST)
    assert "\n" not in str(caught.value)
    assert not target.exists()


def test_redirects_are_followed_to_http_only(serve, target, tmp_path):
    good = serve()
    start = serve(Redirects)
    (tmp_path / "secret").write_bytes(CONTENT)
    for address in (f"file://{tmp_path}/secret", "ftp://127.0.0.1/w", f"{start}?{start}?{start}?ftp://127.0.0.1/w"):
        with pytest.raises(UserError, match=r"not allowed|not followed"):
            download(f"{start}?{address}", target, DIGEST)
        assert not target.exists()
    download(f"{start}?{good}", target, DIGEST)
    assert target.read_bytes() == CONTENT


def test_a_redirect_without_end_is_one_line(serve, target):
    url = serve(Redirects)
    with pytest.raises(UserError) as caught:
        download(f"{url}?/round", target, DIGEST)
    assert "\n" not in str(caught.value)


def test_a_redirect_from_https_to_http_is_not_followed():
    """The handler is tested by itself, because a server for https would need a certificate."""
    request = urllib.request.Request("https://example.org/w")
    for address, followed in (("http://example.org/w", False), ("https://example.com/w", True)):
        try:
            new = WebRedirects().redirect_request(request, None, 302, "Found", {}, address)
        except urllib.error.URLError as error:
            new = None
            assert address in str(error)  # noqa: PT017
        assert (new is not None) == followed


def test_a_file_that_is_too_long_is_not_begun(serve, target, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 100_000)
    with pytest.raises(UserError, match="longer than 100,000 bytes"):
        download(serve(), target, DIGEST)
    assert files_beside(target) == []
    with pytest.raises(UserError, match="longer than 100,000 bytes"):
        download(serve(SaysNoLength), target, DIGEST)
    assert (target.parent / "weights.h5.part").stat().st_size < 100_000


def test_two_downloads_of_one_file_do_not_disturb_each_other(serve, target):
    url = serve(IsSlow)
    failures = []

    def attempt():
        try:
            download(url, target, DIGEST)
        except UserError as error:
            failures.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert target.read_bytes() == CONTENT
    assert files_beside(target) == ["weights.h5"]


def test_what_another_process_has_so_far_is_left_alone(serve, target):
    target.parent.mkdir(parents=True)
    with (target.parent / "weights.h5.part").open("wb") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        part.write(CONTENT[:100])
        part.flush()
        with pytest.raises(UserError, match="the connection ended"):
            download(serve(BreaksOffOnce), target, DIGEST)
        assert files_beside(target) == ["weights.h5.part"]
        download(serve(), target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert (target.parent / "weights.h5.part").read_bytes() == CONTENT[:100]


def test_a_part_that_became_the_target_meanwhile_is_not_written_to(tmp_path):
    """The process that had locked the part may have finished between our opening and our locking it."""
    part = tmp_path / "w.part"
    with part.open("a+b") as opened:
        part.rename(tmp_path / "w")
        assert not module._lock(opened)


def test_a_key_that_stops_the_download_leaves_no_half_file(serve, target, monkeypatch):
    url = serve(IsSlow)

    class Stopped:
        def __init__(self, **arguments):
            """Makes a progress bar whose update stands for Ctrl-C."""

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *_: None  # noqa: E731

        def update(self, _):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tqdm.tqdm", Stopped)
        with pytest.raises(KeyboardInterrupt):
            download(url, target, DIGEST)
    assert files_beside(target) == ["weights.h5.part"]
    download(url, target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert serve.ranges[1].startswith("bytes=")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_one_line(serve, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied") as caught:
        download(serve(), tmp_path / "weights.h5", DIGEST)
    assert "\n" not in str(caught.value)


def test_a_file_in_the_place_of_the_folder_is_one_line(serve, tmp_path):
    (tmp_path / "cache").write_bytes(b"")
    with pytest.raises(UserError, match=r"File exists|Not a directory"):
        download(serve(), tmp_path / "cache" / "weights.h5", DIGEST)


def test_a_disk_that_takes_no_more_is_one_line_and_the_rest_comes_later(serve, target):
    """A limit on the length of files stands for a full disk, because writing also fails in the middle."""
    url = serve()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(UserError, match="File too large") as caught:
            download(url, target, DIGEST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert files_beside(target) == ["weights.h5.part"]
    download(url, target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert serve.ranges == [None, "bytes=200000-"]
