"""What the page of `resnet-tf page` answers to a browser: its own few files, and questions about photos, as WSGI.

It is for the people of one machine. So it takes questions only from its own page and from programs, but not from the
pages of other sites that a browser has open: neither by their scripts (Origin) nor by a name of theirs that leads to
this machine ("DNS rebinding").
"""

import base64
import json
import tempfile
from collections.abc import Collection, Iterable
from ipaddress import ip_address
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from werkzeug.exceptions import (
    BadRequest,
    Forbidden,
    HTTPException,
    InternalServerError,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
    ServiceUnavailable,
)
from werkzeug.wrappers import Request, Response

from pipelines.console.terminal import warn
from pipelines.data.machine import MachineFailure
from pipelines.serving.answers import Answers, Sent
from pipelines.serving.browser_files import POLICY
from pipelines.serving.training_photos import Looking, TrainingPhotos
from resnet_tf.errors import UserError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

MOST_PHOTOS = 16
MOST_BYTES = 32 * 2**20  # of one photo
MOST_BYTES_TOGETHER = 4 * MOST_BYTES  # phones make photos of some megabytes
MOST_BYTES_OF_FEATURES = 2**18  # in base64; a ResNet has 2,048 features, and VGG has 4,096
# Requests about photos that are received or answered at a time.
MOST_AT_ONCE = 4
_MEBIBYTE = 2**20
_LONGEST_NAME = 200
# The field of a form that holds the photos.
FIELD = "photo"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


class PhotoRequest(Request):
    """A request whose body has a limit."""

    max_content_length = MOST_BYTES_TOGETHER
    max_form_parts = 2 * MOST_PHOTOS


def application(
    answers: Answers, training: TrainingPhotos, files: dict[str, tuple[str, str]], names: Collection[str]
) -> "WSGIApplication":
    """Returns the WSGI application of the page.

    Args:
        answers: What answers about photos.
        training: Training photos that answers are compared with.
        files: Media type and text of each file of the page, by its path, such as "/".
        names: Names that the page is asked for, beside "localhost" and addresses.
    """
    places = BoundedSemaphore(MOST_AT_ONCE)
    questions = {
        "/predict": lambda request: _predict(request, answers, training),
        "/nearest": lambda request: _nearest(request, training),
    }

    def respond(request: PhotoRequest) -> Response:
        check_sender(request.host, request.headers.get("Origin"), names)
        if request.path in questions:
            _check_method(request, "POST")
            if not places.acquire(blocking=False):
                raise ServiceUnavailable(f"{MOST_AT_ONCE} requests are being answered; ask again in a moment")
            try:
                return _in_json(questions[request.path](request))
            finally:
                places.release()
        _check_method(request, "GET")
        if request.path == "/status":
            looking = training.looking
            said = {"nearest_ready": looking is Looking.DONE, "waiting": looking is Looking.NOW}
            return _in_json({"nearest": training.said, **said})
        if request.path in files:
            kind, text = files[request.path]
            return Response(text, mimetype=kind)
        raise NotFound(f"there is no {request.path[:_LONGEST_NAME]}")

    def answering(environment: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        request = PhotoRequest(environment)
        try:
            response = respond(request)
        except RequestEntityTooLarge:
            most = f"{(request.max_content_length or 0) / _MEBIBYTE:g} MiB"
            response = _in_json({"error": f"a request has more than {most}, or too many parts; send fewer photos"}, 413)
        except HTTPException as error:
            response = _in_json({"error": error.description or error.name}, error.code or 500)
        except MachineFailure as error:
            warn(str(error))
            response = _in_json({"error": str(error)}, InternalServerError.code)
        except UserError as error:
            response = _in_json({"error": str(error)}, BadRequest.code)
        except Exception as error:  # one request must not end the page
            warn(f"a request failed: {type(error).__name__}: {error}")
            response = _in_json({"error": "this could not be answered; the terminal says why"}, 500)
        response.headers.update(HEADERS)
        return response(environment, start)

    return answering


def check_sender(asked: str, origin: str | None, names: Collection[str]) -> None:
    """Checks that a request is meant for this page, and comes from no other one.

    A page of another site can reach this machine by a name of its own, which leads here. An address in numbers is no
    such name, and neither is "localhost".

    Args:
        asked: The request's header Host.
        origin: The request's header Origin; programs send none.
        names: Names of the page.

    Raises:
        Forbidden: It is for another name, or another page has sent it.
    """
    try:
        name, sender = urlsplit(f"//{asked}").hostname or "", urlsplit(origin or f"http://{asked}").netloc
    except ValueError:  # brackets without an address
        name = sender = ""
    if name not in ("localhost", *map(str.lower, names)) and not _is_address(name):
        raise Forbidden(f"this page is not {name[:_LONGEST_NAME]!r}; open the address that the terminal shows")
    if sender != asked:
        raise Forbidden("another page has sent this request")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _check_method(request: PhotoRequest, method: str) -> None:
    if request.method not in (method, "HEAD" if method == "GET" else method):
        raise MethodNotAllowed([method], f"{request.path[:_LONGEST_NAME]} takes {method} alone")


def _predict(request: PhotoRequest, answers: Answers, training: TrainingPhotos) -> dict[str, Any]:
    """Returns the answer to POST /predict: a form with photos, and `explain` among the address's arguments or not."""
    sent = request.files.getlist(FIELD)
    if not sent:
        raise BadRequest(f"there is no photo; send a form with files named {FIELD!r}, as curl -F {FIELD}=@FILE does")
    if len(sent) > MOST_PHOTOS:
        raise BadRequest(f"{len(sent)} photos are too many for one request; send at most {MOST_PHOTOS}")
    with tempfile.TemporaryDirectory() as folder:
        photos, errors = [], {}
        for number, file in enumerate(sent):
            photos.append(Sent((file.filename or "photo")[:_LONGEST_NAME], Path(folder) / str(number)))
            file.save(photos[-1].path)
            size = photos[-1].path.stat().st_size
            if size > MOST_BYTES:
                errors[number] = {
                    "name": photos[-1].name,
                    "error": f"{size / _MEBIBYTE:.1f} MiB, more than {MOST_BYTES // _MEBIBYTE}",
                }
        fitting = [photo for number, photo in enumerate(photos) if number not in errors]
        found = iter(answers.about(fitting, training if "explain" in request.args else None))
    return {"photos": [errors[number] if number in errors else next(found) for number in range(len(photos))]}


def _nearest(request: PhotoRequest, training: TrainingPhotos) -> dict[str, Any]:
    """Returns the answer to POST /nearest, whose body is the `features` of an explained answer."""
    request.max_content_length = MOST_BYTES_OF_FEATURES
    try:
        features = np.frombuffer(base64.b64decode(request.get_data(), validate=True), "<f4")
    except ValueError:  # no base64, or a number that is cut off
        features = np.zeros(0, np.float32)
    if not features.size or not np.isfinite(features).all():
        raise BadRequest("the body must be the 'features' of an answer to /predict?explain=1")
    return {"nearest": training.nearest_to(features)}


def _in_json(content: dict[str, Any], status: int = 200) -> Response:
    # A name may hold bytes that are no UTF-8; JSON's own escapes can say them.
    text = json.dumps(content, allow_nan=False)
    return Response(text, status=status, mimetype="application/json")
