"""Starts MLServer with an exported SavedModel, and ends it."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError
from urllib.request import urlopen

NAME = "photos"
SECONDS = 120  # until it must be ready


@contextmanager
def started(saved_model: Path, folder: Path) -> Iterator[SimpleNamespace]:
    """Yields the process of an MLServer on the loopback, and its ports; it listens there alone.

    Args:
        saved_model: Folder of the SavedModel.
        folder: Empty folder for the server's settings and log.
    """
    ports = {name: _free_port() for name in ("http_port", "grpc_port", "metrics_port")}
    (folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "parallel_workers": 0, **ports}))
    model = {"uri": str(saved_model), "version": "1"}
    settings = {"name": NAME, "implementation": "saved_model_runtime.SavedModelRuntime", "parameters": model}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [str(Path(sys.executable).parent / "mlserver"), "start", str(folder)]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        _wait_until_ready(f"http://127.0.0.1:{ports['http_port']}/v2/models/{NAME}/ready", process, folder / "log")
        yield SimpleNamespace(process=process, **ports)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _wait_until_ready(url: str, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (URLError, OSError):
            pass
        time.sleep(0.2)
    raise AssertionError(f"MLServer is not ready: {log.read_text()[-2000:]}")
