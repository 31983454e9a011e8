"""page: a web page on this machine, on which a person drops photos and sees the run's answers."""

import signal
import socket
from contextlib import suppress
from threading import Timer
from typing import Any

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from pipelines.config.judging import PageConfig
from pipelines.console.signals import Interrupts
from pipelines.console.terminal import answer, say, warn
from pipelines.runs.directory import Run, finished_run
from pipelines.runs.state import state_of
from pipelines.serving.answers import Answers
from pipelines.serving.browser_files import index_page, style, text_of
from pipelines.serving.listening import names_of
from pipelines.serving.page_app import MOST_BYTES, application
from pipelines.serving.training_photos import TrainingPhotos

# Seconds after which a browser that sends nothing is no longer waited for.
_PATIENCE = 30.0
# Seconds within which a whole request must have come.
_LONGEST = 120.0


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
        names = names_of(config.host, listener)
        server = page_server(listener, application(answers, training, page_files(run, answers), names))
        training.look(answers.explainer, answers.network, answers.spec)
        answer(f"http://{_in_address(names[0])}:{server.port}/ answers about photos; Ctrl-C ends it")
        server.serve_forever()  # until a signal, which it catches
        training.stop()
        if interrupts.received == signal.SIGTERM:
            interrupts.raise_received()
    say("ended")


def page_server(listener: socket.socket, app: Any) -> BaseWSGIServer:
    """Returns a server of a WSGI application, which reads no request for longer than two minutes."""
    host, port = listener.getsockname()[:2]
    return make_server(host, port, app, threaded=True, request_handler=_Handler, fd=listener.fileno())


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def page_files(run: Run, answers: Answers) -> dict[str, tuple[str, str]]:
    """Returns the files of the page by their paths, each with its media type."""
    threshold = None if answers.calibration is None else answers.calibration.threshold
    facts = {
        "threshold": threshold,
        "most_bytes": MOST_BYTES,
    }
    known = f"The run {run.name} knows {len(answers.classes)} classes."
    lead = f"Photos are sent to this machine alone, and are not kept. {known}"
    return {
        "/": ("text/html", index_page(f"Photos for {run.name}", lead, facts)),
        "/ask.css": ("text/css", style()),
        "/ask.js": ("text/javascript", text_of("ask.js")),
        "/answer.js": ("text/javascript", text_of("answer_from_server.js")),
    }


class _Handler(WSGIRequestHandler):
    """Says nothing of each request, and waits for no browser for ever."""

    timeout = _PATIENCE

    def handle(self) -> None:
        end = Timer(_LONGEST, self._read_no_more)  # a byte every few seconds would never be too late
        end.daemon = True
        end.start()
        try:
            super().handle()
        finally:
            end.cancel()

    def _read_no_more(self) -> None:
        with suppress(OSError):  # the browser is gone
            self.connection.shutdown(socket.SHUT_RD)

    def version_string(self) -> str:
        return "resnet-tf"

    def log(self, type: str, message: str, *args: Any) -> None:
        pass
