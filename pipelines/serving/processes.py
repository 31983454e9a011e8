"""Processes of their own for converters and runtimes: modules of this package that import no more than they need."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

import pipelines
from pipelines.config.formats import Target
from resnet_tf.errors import UserError

_PACKAGES = Path(pipelines.__file__).resolve().parents[1]


def run_module(module: str, *arguments: str, what: str) -> None:
    """Runs a module of this package in a fresh process, and waits for its end.

    Args:
        module: Name of the module.
        arguments: Words after its name.
        what: What it does, for the error.

    Raises:
        UserError: It fails.
    """
    run_python(*_module(module, arguments), failure=f"{what} fails")


def run_python(*arguments: str, failure: str) -> str:
    """Runs Python in a fresh process that uses no GPU, waits for its end, and returns what it printed.

    Args:
        arguments: Words after the interpreter's name.
        failure: What it means that the process fails; the reason follows.

    Raises:
        UserError: It fails.
    """
    result = subprocess.run(
        [sys.executable, *arguments], env=_environment(), capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise UserError(f"{failure}: {_reason(result.stderr, result.returncode)}")
    return result.stdout


class Engine:
    """A fresh process that serves an export, see `pipelines.serving.engine`.

    Args:
        target: The export.
        path: Its file or folder.
    """

    def __init__(self, target: Target, path: Path) -> None:
        self.target, self.path = target, path
        self.peak_bytes = 0

    def __enter__(self) -> "Engine":
        self._errors: IO[bytes] = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, *_module("pipelines.serving.engine", (self.target.format, str(self.path)))],
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def ask(self, images: np.ndarray, times: int = 1) -> tuple[np.ndarray, list[float]]:
        """Serves a batch.

        Args:
            images: uint8 [batch, height, width, 3].
            times: Number of times to compute it.

        Returns:
            The probabilities, float32 [batch, classes], and the seconds of each time.

        Raises:
            UserError: The runtime fails.
        """
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answers is not None
        try:
            asked.write(json.dumps({"shape": images.shape, "times": times}).encode() + b"\n")
            asked.write(np.ascontiguousarray(images).data)
            asked.flush()
        except BrokenPipeError:
            raise self._failure() from None
        line = answers.readline()
        if not line:
            raise self._failure()
        answer: dict[str, Any] = json.loads(line)
        self.peak_bytes = answer["peak_bytes"]
        content = answers.read(4 * int(np.prod(answer["shape"])))
        return np.frombuffer(content, np.float32).reshape(answer["shape"]), answer["seconds"]

    def _failure(self) -> UserError:
        code = self._process.wait()
        self._errors.seek(0)
        reason = _reason(self._errors.read().decode(errors="replace"), code)
        return UserError(f"a fresh process cannot serve {self.target}: {reason}")


def _module(module: str, arguments: tuple[str, ...]) -> list[str]:
    return ["-P", "-m", module, *arguments]


def _environment() -> dict[str, str]:
    """Returns an environment in which these packages are found, and no GPU is used, so that machines are comparable."""
    paths = [str(_PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
    return {**os.environ, **quiet, "PYTHONPATH": os.pathsep.join(paths)}


def _reason(errors: str, code: int) -> str:
    """Returns the last line of what a process said, or by what it ended."""
    lines = [line for line in errors.strip().splitlines() if line.strip()]
    ended = f"it ended with signal {-code}" if code < 0 else f"it ended with the status {code}"
    return lines[-1].strip()[:300] if lines and code > 0 else ended
