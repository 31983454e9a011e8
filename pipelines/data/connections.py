"""The connections of one fetch from the web: where they may lead, and when they must end.

A person who names an address may name one of an own network, as with curl. A server on the web may not lead there:
a redirect from a public address to a private one is refused, because what stands there answers this machine alone
(https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html).
"""

import http.client
import ipaddress
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from resnet_tf.errors import UserError
from resnet_tf.redirects import WebRedirects

MAX_SECONDS = 60.0
MAX_REDIRECTS = 5
_LOOK = 0.2  # seconds between two looks at the clock


class NotFetched(UserError):
    """A picture could not be fetched; the sentence says why."""


class Connections:
    """The connections of one fetch, each of which begins where a redirect of the one before it leads."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._public, self._over = False, threading.Event()

    @property
    def over(self) -> bool:
        """Whether they had to end."""
        return self._over.is_set()

    def add(self, connected: socket.socket, direct: bool) -> None:
        """Adds a connection before anything is asked through it.

        Args:
            connected: Its socket.
            direct: Whether the other side is the server, and not a proxy.

        Raises:
            NotFetched: A public server led to a private address. What the name of a server means may change between
                two questions, so only the connection tells for certain.
        """
        self._sockets.append(connected)
        if self.over:  # it was made while the time ran out
            _shut_down(connected)
        elif direct:
            address = str(connected.getpeername()[0])
            public = _is_public(address)
            if self._public and not public:
                raise NotFetched(f"it leads to {address}, which is a private address and is not followed")
            self._public |= public

    def end(self) -> None:
        """Ends all connections, also those that are still to come."""
        self._over.set()
        for each in self._sockets:
            _shut_down(each)


@contextmanager
def connections(stopped: threading.Event) -> Iterator[Connections]:
    """Yields the connections of one fetch, and ends them after `MAX_SECONDS`: a server may send one byte at a time for
    ever.

    Args:
        stopped: Event that ends them at once.

    Raises:
        NotFetched: They had to end.
    """
    found, done = Connections(), threading.Event()

    def watch() -> None:
        end = time.monotonic() + MAX_SECONDS
        while not done.wait(_LOOK) and not stopped.is_set() and time.monotonic() < end:
            pass
        if not done.is_set():
            found.end()

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield found
    except Exception as error:
        if found.over:
            raise NotFetched(f"it took more than {MAX_SECONDS:g} seconds") from error
        raise
    finally:
        done.set()
    if found.over:
        raise NotFetched(f"it took more than {MAX_SECONDS:g} seconds")


def opener(found: Connections) -> urllib.request.OpenerDirector:
    """Returns what opens http and https, and nothing else: neither files nor FTP.

    Args:
        found: The connections of this fetch, to which those are added that are made.
    """
    director = urllib.request.OpenerDirector()
    handlers = (
        urllib.request.ProxyHandler(),
        _Http(found),
        _Https(found),
        urllib.request.HTTPDefaultErrorHandler(),
        Redirects(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    )
    for handler in handlers:
        director.add_handler(handler)
    return director


class Redirects(WebRedirects):
    """Follows a few redirects, never from https to http, and never from a public address to a private one."""

    max_redirections = MAX_REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        fp.close()  # urllib would read all of it, however much that is
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        before, after = _server_of(req.full_url), _server_of(newurl)
        # A server of a home may have a public address of IPv6 beside a private one, and lead to itself.
        if before != after and not all(_publicness(after)) and any(_publicness(before)):
            raise NotFetched(f"it leads to {newurl}, which is a private address and is not followed")
        return new


class _Adding:
    """A handler of urllib that adds its connections to those of a fetch."""

    def __init__(self, found: Connections) -> None:
        super().__init__()
        self._found = found


class _Http(_Adding, urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_added(http.client.HTTPConnection, req, self._found), req)


class _Https(_Adding, urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_added(http.client.HTTPSConnection, req, self._found), req)


def _added(kind: Callable[..., Any], request: urllib.request.Request, found: Connections) -> Callable[..., Any]:
    """Returns a function that makes a connection of a kind for a request, and adds its socket once it stands."""
    # A proxy has taken the place of the host in the request, but not in the address.
    direct = request.host == urllib.request.Request(request.full_url).host  # noqa: S310 (nothing is opened)

    def make(*arguments: Any, **options: Any) -> Any:
        connection = kind(*arguments, **options)
        connect = connection.connect

        def connect_and_add() -> None:
            connect()
            found.add(connection.sock, direct)

        connection.connect = connect_and_add
        return connection

    return make


def _server_of(url: str) -> str:
    return unquote(urlsplit(url).hostname or "")


def _publicness(server: str) -> list[bool]:
    """Returns of each address of a server whether it is public; none where the server cannot be connected to."""
    try:
        found = socket.getaddrinfo(server, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [_is_public(str(each[4][0])) for each in found]


def _is_public(address: str) -> bool:
    """Returns whether an address is one of the public network."""
    return ipaddress.ip_address(address.partition("%")[0]).is_global


def _shut_down(connected: socket.socket) -> None:
    with suppress(OSError):  # it has ended by itself
        connected.shutdown(socket.SHUT_RDWR)
