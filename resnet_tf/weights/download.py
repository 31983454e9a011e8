"""Downloads a file whose hash is known; resumes an interrupted download, and never leaves half a file in place."""

import contextlib
import fcntl
import hashlib
import os
import re
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from resnet_tf.errors import UserError
from resnet_tf.redirects import SCHEMES, WebRedirects
from resnet_tf.weights.weight_file import MAX_BYTES

STALLED_SECONDS = 60.0
_CHUNK = 2**16


def download(url: str, target: Path, digest: str, algorithm: str = "sha256") -> Path:
    """Downloads a file, unless it is there already.

    The bytes received so far are in `<target>.part`. That file stays when the connection breaks, and the next call
    continues it if the server supports that. Only a file with the right hash gets the name `target`. Therefore nobody
    sees half a file, and an older file of that name is replaced in one step.

    Args:
        url: Address of the file, http or https; proxies are taken from the environment.
        target: Path for the file; its folder is made if it is missing.
        digest: Hash of the file, in hexadecimal digits.
        algorithm: Kind of the hash, as `hashlib` names it.

    Returns:
        `target`.

    Raises:
        UserError: The file could not be downloaded or written, or its hash differs.
    """
    try:
        if target.is_file() and _digest(target, algorithm) == digest.lower():
            return target
        if urlsplit(url).scheme not in SCHEMES:
            raise ValueError("only http and https are downloaded from")
        target.parent.mkdir(parents=True, exist_ok=True)
        with _part_of(target) as part:
            _fetch(url, part, target.name)
            os.fsync(part.fileno())
            found = _digest(Path(part.name), algorithm)
            if found != digest.lower():
                os.unlink(part.name)
                raise ValueError(f"its {algorithm} hash is {found}, not {digest}")
            os.replace(part.name, target)
    except (OSError, HTTPException, ValueError) as error:
        raise UserError(
            f"could not download {url} ({_reason(error)}); try again, or fetch the file by hand and put it at "
            f"{str(target)!r}"
        ) from error
    return target


@contextlib.contextmanager
def _part_of(target: Path) -> Iterator[BinaryIO]:
    """Opens and locks `<target>.part`; if another process has locked it, opens a temporary file of our own instead."""
    shared = target.with_name(f"{target.name}.part")
    with shared.open("a+b") as part:
        if _lock(part):
            try:
                yield part
            finally:
                if part.seek(0, os.SEEK_END) == 0:
                    shared.unlink(missing_ok=True)
            return
    own = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
    try:
        with own.open("a+b") as part:
            yield part
    finally:
        own.unlink(missing_ok=True)


def _lock(part: BinaryIO) -> bool:
    try:
        fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The process that had locked the file may have renamed it to the target after we opened it.
        return os.path.samestat(os.fstat(part.fileno()), os.stat(part.name))
    except OSError:
        return False


def _fetch(url: str, part: BinaryIO, name: str) -> None:
    """Completes the partial file, or begins it anew if the server does not continue it."""
    from tqdm import tqdm

    response, start, total = _connect(url, part.seek(0, os.SEEK_END))
    part.truncate(start)
    with (
        response,
        tqdm(desc=name, total=total, initial=start, unit="B", unit_scale=True, leave=False, disable=None) as bar,
    ):
        done = start
        while chunk := response.read(_CHUNK):
            done += len(chunk)
            if max(done, total or 0) > MAX_BYTES:
                raise ValueError(f"it is longer than {MAX_BYTES:,} bytes")
            part.write(chunk)
            bar.update(len(chunk))
    part.flush()
    if total is not None and done != total:
        raise ValueError(f"the connection ended after {done:,} of {total:,} bytes")


def _connect(url: str, have: int) -> tuple[HTTPResponse, int, int | None]:
    """Returns the response, the byte of the file at which it begins, and the file's length if the server states it."""
    if have:
        response = _continue(url, have)
        if response is not None:
            return response, have, None if response.length is None else have + response.length
    response = _open(url, {})
    if response.status != HTTPStatus.OK:
        raise ValueError(f"the server answers {response.status} {response.reason}")
    return response, 0, response.length


def _continue(url: str, have: int) -> HTTPResponse | None:
    """Returns the response with the rest of the file; None if the server sends anything else or has no more bytes."""
    try:
        response = _open(url, {"Range": f"bytes={have}-"})
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        return None
    served = re.match(r"bytes (\d+)-", response.headers["Content-Range"] or "")
    if served and int(served[1]) == have:
        return response
    response.close()
    return None


def _open(url: str, headers: dict[str, str]) -> HTTPResponse:
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - only http and https addresses get here
    return urllib.request.build_opener(WebRedirects).open(request, timeout=STALLED_SECONDS)


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _reason(error: BaseException) -> str:
    """Returns one line of text for any error of the network or the disk."""
    match error:
        case urllib.error.HTTPError():
            text = f"the server answers {error.code} {error.reason}"
        case urllib.error.URLError(reason=BaseException() as reason):
            text = _reason(reason)
        case TimeoutError():
            text = f"nothing came for {STALLED_SECONDS:g} seconds"
        case OSError(strerror=str() as text):
            text += f": {error.filename}" if error.filename else ""
        case _:
            text = str(error) or type(error).__name__
    return " ".join(text.split())
