"""Fetches pictures from the web: only http and https, a bounded number of bytes, in a bounded time, a few at a time.

A person who names an address may name one of an own network, as with curl. A server on the web may not lead there:
a redirect from a public address to a private one is refused, because what stands there answers this machine alone
(https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html).
"""

import errno
import http.client
import ipaddress
import os
import secrets
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from pipelines.data.machine import is_machine_failure, machine_failure, reason_of
from resnet_tf import __version__
from resnet_tf.errors import UserError

MAX_BYTES = 64 * 2**20
STALLED_SECONDS = 15.0
MAX_SECONDS = 60.0
MAX_REDIRECTS = 5
# As many as a browser opens to one server.
CONNECTIONS = 6
TRIES = 3
LONGEST_WAIT = 10.0  # seconds, whatever a busy server says
_LOOK = 0.2  # seconds between two looks at the clock
_CHUNK = 2**16
_BUSY = (429, 503)
_HEADERS = {"User-Agent": f"resnet-tf/{__version__}", "Accept": "image/*"}
_ABSENT = (errno.ECONNRESET, errno.ECONNABORTED, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT, errno.EPROTO)


class NotFetched(UserError):
    """A picture could not be fetched; the sentence says why."""


class Fetcher:
    """Fetches addresses into new files of a folder; several threads may use it.

    Args:
        folder: Folder for the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._stopped = folder, threading.Event()

    def stop(self) -> None:
        """Makes every fetch end soon, since nobody waits for it any more."""
        self._stopped.set()

    def fetch(self, url: str) -> Path:
        """Fetches one address; proxies are taken from the environment.

        A server that is busy is asked again, when it says or after a second.

        Args:
            url: Address, http or https.

        Raises:
            NotFetched: The server has no such file, or it is too large or too slow, or leads elsewhere.
            MachineFailure: There is no network, or the disk is full.
        """
        target = self._folder / secrets.token_hex(8)
        for tries_left in reversed(range(TRIES)):
            try:
                return self._try(url, target)
            except Exception as error:  # http.client has many kinds of errors for what a server may say
                target.unlink(missing_ok=True)
                seconds = _wait_for(error)
                if seconds is None or not tries_left or self._stopped.wait(seconds):
                    raise _failure(url, error) from error
        raise AssertionError("the last try returns or raises")

    def _try(self, url: str, target: Path) -> Path:
        if "@" in urlsplit(url).netloc:
            raise NotFetched("an address with a user name is not fetched")
        request = urllib.request.Request(url, headers=_HEADERS)  # noqa: S310 (the opener knows http and https alone)
        with _deadline(self._stopped) as keep, _opener(keep).open(request, timeout=STALLED_SECONDS) as response:
            _save(response, target)
        return target


def _wait_for(error: Exception) -> float | None:
    """Returns the seconds after which a server that was busy may be asked again; None where asking again is no use."""
    if not isinstance(error, urllib.error.HTTPError) or error.code not in _BUSY:
        return None
    said = error.headers.get("Retry-After") or ""
    return min(float(said), LONGEST_WAIT) if said.isascii() and said.isdigit() else 1.0


def _failure(url: str, error: Exception) -> UserError:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, BaseException) and is_machine_failure(cause) and not _is_absence(cause):
        return machine_failure(url, reason_of(cause))
    return NotFetched(_words(error))


def _save(response: Any, target: Path) -> None:
    """Writes what a server sends, in pieces as they come."""
    announced = response.length
    if announced is not None and announced > MAX_BYTES:
        raise NotFetched(f"{announced:,} bytes, more than {MAX_BYTES:,}")
    size = 0
    with target.open("xb") as file:
        while piece := response.read1(_CHUNK):
            size += len(piece)
            if size > MAX_BYTES:
                raise NotFetched(f"more than {MAX_BYTES:,} bytes")
            file.write(piece)
    if announced is not None and size < announced:
        raise NotFetched(f"the connection ended after {size:,} of {announced:,} bytes")


@contextmanager
def _deadline(stopped: threading.Event) -> Iterator[Callable[[Any], None]]:
    """Ends all connections that are kept when `MAX_SECONDS` are over: a server may send one byte at a time for ever.

    Args:
        stopped: Event that ends them at once.

    Yields:
        A function that keeps a socket.

    Raises:
        NotFetched: It had to.
    """
    kept: list[socket.socket] = []
    over, done = threading.Event(), threading.Event()

    def watch() -> None:
        end = time.monotonic() + MAX_SECONDS
        while not done.wait(_LOOK) and not stopped.is_set() and time.monotonic() < end:
            pass
        if not done.is_set():
            over.set()
            for each in kept:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield kept.append
    except Exception as error:
        if over.is_set():
            raise NotFetched(f"it took more than {MAX_SECONDS:g} seconds") from error
        raise
    finally:
        done.set()
    if over.is_set():
        raise NotFetched(f"it took more than {MAX_SECONDS:g} seconds")


def _opener(keep: Callable[[Any], None]) -> urllib.request.OpenerDirector:
    """Returns what opens http and https, and nothing else: neither files nor FTP."""
    opener = urllib.request.OpenerDirector()
    handlers = (
        urllib.request.ProxyHandler(),
        _Http(keep),
        _Https(keep),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    )
    for handler in handlers:
        opener.add_handler(handler)
    return opener


def _kept(kind: Callable[..., Any], keep: Callable[[Any], None]) -> Callable[..., Any]:
    """Returns a function that makes connections of a kind and keeps their sockets."""

    def make(*arguments: Any, **options: Any) -> Any:
        connection = kind(*arguments, **options)
        connect = connection.connect

        def connect_and_keep() -> None:
            connect()
            keep(connection.sock)

        connection.connect = connect_and_keep
        return connection

    return make


class _Http(urllib.request.HTTPHandler):
    def __init__(self, keep: Callable[[Any], None]) -> None:
        super().__init__()
        self._make = _kept(http.client.HTTPConnection, keep)

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(self._make, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, keep: Callable[[Any], None]) -> None:
        super().__init__()
        self._make = _kept(http.client.HTTPSConnection, keep)

    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(self._make, req)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, never from https to http, and never from a public address to a private one."""

    max_redirections = MAX_REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        if after.scheme not in ("http", "https") or (before.scheme == "https" and after.scheme == "http"):
            raise NotFetched(f"it leads to {newurl}, which is not followed")
        if _is_private(after.hostname) and not _is_private(before.hostname):
            raise NotFetched(f"it leads to {newurl}, which is a private address and is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_private(host: str | None) -> bool:
    """Returns whether one of the addresses of a host is not one of the public network."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False  # it cannot be connected to either
    return any(not ipaddress.ip_address(str(each[4][0]).partition("%")[0]).is_global for each in found)


def _is_absence(error: BaseException) -> bool:
    """Returns whether an error says that the other side is absent, and nothing about this machine."""
    return isinstance(error, OSError) and error.errno in _ABSENT


def _words(error: BaseException) -> str:
    """Returns in one line why an address was not fetched."""
    match error:
        case NotFetched():
            text = str(error)
        case urllib.error.HTTPError(code=code, reason=reason) if 300 <= code < 400 and "not allowed" in str(reason):
            text = "it leads to what is neither http nor https, and is not followed"
        case urllib.error.HTTPError(code=code) if 300 <= code < 400:
            text = f"more than {MAX_REDIRECTS} redirects, or one that leads in a circle"
        case urllib.error.HTTPError():
            text = f"the server answers {error.code} {error.reason}"
        case urllib.error.URLError(reason=BaseException() as reason):
            text = _words(reason)
        case urllib.error.URLError(reason=str() as text):
            pass
        case TimeoutError():
            text = f"nothing came for {STALLED_SECONDS:g} seconds"
        case socket.gaierror():
            text = f"no such server: {error.strerror}"
        case http.client.HTTPException() | ValueError():
            text = f"no answer that can be understood ({error or type(error).__name__})"
        case OSError():
            text = error.strerror or os.strerror(error.errno or 0)
        case _:
            text = str(error) or type(error).__name__
    return " ".join(text.split())
