"""Fetches pictures from the web: only http and https, a bounded number of bytes, in a bounded time, a few at a time."""

import errno
import http.client
import os
import secrets
import socket
import string
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from pipelines.data.connections import MAX_REDIRECTS, NotFetched, connections, opener
from pipelines.data.machine import is_machine_failure, machine_failure, reason_of
from resnet_tf import __version__
from resnet_tf.errors import UserError

MAX_BYTES = 64 * 2**20
STALLED_SECONDS = 15.0
# As many as a browser opens to one server.
CONNECTIONS = 6
TRIES = 3
LONGEST_WAIT = 10.0  # seconds, whatever a busy server says
_CHUNK = 2**16
_BUSY = (429, 503)
_HEADERS = {"User-Agent": f"resnet-tf/{__version__}", "Accept": "image/*"}
_ABSENT = (
    *(errno.ECONNRESET, errno.ECONNABORTED, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH),
    *(errno.ETIMEDOUT, errno.EPROTO),
)


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
        # The opener knows http and https alone.
        request = urllib.request.Request(_in_ascii(url), headers=_HEADERS)  # noqa: S310
        with connections(self._stopped) as found, opener(found).open(request, timeout=STALLED_SECONDS) as response:
            _save(response, target)
        return target


def _in_ascii(url: str) -> str:
    """Returns an address as a server understands it: with IDNA in its name (RFC 3490), and with % elsewhere (RFC 3986).

    Raises:
        NotFetched: It is no address, or has a user name.
    """
    try:
        parts = urlsplit(url)
        server = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    except ValueError as error:
        raise NotFetched(f"no address that can be understood ({error})") from error
    if "@" in server:
        raise NotFetched("an address with a user name is not fetched")
    # Bytes of a file name that are not UTF-8 are passed on as they are.
    return quote(urlunsplit(parts._replace(netloc=server)), safe=string.punctuation, errors="surrogateescape")


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
        case http.client.InvalidURL():
            text = f"no address that can be understood ({error})"
        case http.client.HTTPException() | ValueError():
            text = f"no answer that can be understood ({error or type(error).__name__})"
        case OSError():
            text = error.strerror or os.strerror(error.errno or 0)
        case _:
            text = str(error) or type(error).__name__
    return " ".join(text.split())
