"""page: a web page on this machine, on which a person drops photos and sees the run's answers."""

import signal
import socket
from typing import Any

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from pipelines.config.judging import PageConfig
from pipelines.console.signals import Interrupts
from pipelines.console.terminal import answer, say, warn
from pipelines.runs.directory import Run, finished_run
from pipelines.runs.state import state_of
from pipelines.serving.answers import Answers
from pipelines.serving.browser_files import index_page, style, text_of
from pipelines.serving.page_app import MOST_BYTES, MOST_PHOTOS, application
from pipelines.serving.training_photos import TrainingPhotos

# Seconds after which a browser that sends nothing is no longer waited for.
_PATIENCE = 30.0


def page(config: PageConfig, listener: socket.socket) -> None:
    """Serves the page until Ctrl-C.

    Args:
        config: Run, host and port.
        listener: Socket that listens there.

    Raises:
        UserError: The run is not finished, or a file of it is damaged.
        Terminated: SIGTERM was received.
    """
    with Interrupts() as interrupts:
        run = finished_run(config.run)
        if unfinished := state_of(run).text:
            warn(f"{unfinished}; these are the answers of its best model so far")
        answers, training = Answers(run), TrainingPhotos(run, config.data)
        server = _server(listener, application(answers, training, page_files(run, answers), config.host))
        training.look(answers.explainer, answers.network, answers.spec)
        answer(f"http://{_named(config.host)}:{server.port}/ answers about photos; Ctrl-C ends it")
        server.serve_forever()  # until a signal, which it catches
        training.stop()
        if interrupts.received == signal.SIGTERM:
            interrupts.raise_received()
    say("ended")


def _server(listener: socket.socket, app: Any) -> BaseWSGIServer:
    host, port = listener.getsockname()[:2]
    return make_server(host, port, app, threaded=True, request_handler=_Handler, fd=listener.fileno())


def _named(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def page_files(run: Run, answers: Answers) -> dict[str, tuple[str, str]]:
    """Returns the files of the page by their paths, each with its media type."""
    name, classes = run.path.resolve().name, len(answers.classes)
    threshold = None if answers.calibration is None else answers.calibration.threshold
    facts = {
        "threshold": threshold,
        "most_photos": MOST_PHOTOS,
        "most_bytes": MOST_BYTES,
    }
    lead = f"Photos are sent to this machine alone, and are not kept. The run {name} knows {classes} classes."
    return {
        "/": ("text/html", index_page(f"Photos for {name}", lead, facts)),
        "/ask.css": ("text/css", style()),
        "/ask.js": ("text/javascript", text_of("ask.js")),
        "/answer.js": ("text/javascript", text_of("answer_from_server.js")),
    }


class _Handler(WSGIRequestHandler):
    """Says nothing of each request, and waits for no browser for ever."""

    timeout = _PATIENCE

    def version_string(self) -> str:
        return "resnet-tf"

    def log(self, type: str, message: str, *args: Any) -> None:
        pass
