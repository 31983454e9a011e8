"""Damages small files of weights of every format in many ways, and reads them in a process of its own.

    .venv/bin/python -m tests.campaigns.weights --count 560 --seed 0

A file must load, or be refused with a UserError of one line. The campaign fails at any other error, at a reader that
takes longer than ten seconds, at one that ends its process, and where something in a file was executed.
"""

import argparse
import json
import os
import queue
import random
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

SECONDS = 10
ROOT = Path(__file__).resolve().parents[2]
MARKER = "executed"


@dataclass(frozen=True)
class Trial:
    """A damaged file and what became of it.

    Args:
        name: Format and kind of damage, in words.
        outcome: "loaded", "refused", or what went wrong.
        detail: Message of the error, or "".
    """

    name: str
    outcome: str
    detail: str

    @property
    def passed(self) -> bool:
        """Whether the file was read or refused as it should be."""
        return self.outcome in ("loaded", "refused")


def run(count: int, seed: int) -> list[Trial]:
    """Reads `count` damaged files, the same ones for the same seed and versions."""
    from tests.campaigns.weight_files import damaged, known_network, write_samples

    with tempfile.TemporaryDirectory() as folder:
        with known_network():
            samples = write_samples(Path(folder) / "samples")
        reader, trials = _Reader(Path(folder)), []
        for number in range(count):
            name, path = damaged(samples, Path(folder) / f"{number}", random.Random(f"{seed} {number}"))
            outcome, detail = reader.read(path)
            if (Path(folder) / MARKER).exists():
                outcome, detail = "something was executed", ""
                (Path(folder) / MARKER).unlink()
            trials.append(Trial(f"{number} {name}", outcome, detail))
        reader.close()
    return trials


class _Reader:
    """A process that reads files; a new one is started where it ends or hangs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._start()

    def read(self, path: Path) -> tuple[str, str]:
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        answer = self._answer(SECONDS)
        if answer is None:
            ended = self.process.poll()
            self.close()
            self._start()
            return ("longer than ten seconds" if ended is None else f"the process ended with {ended}"), ""
        return answer["outcome"], answer["detail"]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def _start(self) -> None:
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaigns.weight_reader"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=self.folder,
            env=environment,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, args=(self.process, self.lines), daemon=True).start()
        if self._answer(120) is None:
            raise RuntimeError("the process that reads the files does not start")

    @staticmethod
    def _listen(process: subprocess.Popen, lines: queue.Queue) -> None:
        for line in process.stdout:
            lines.put(line)
        lines.put("")  # it ended

    def _answer(self, seconds: float) -> dict | None:
        try:
            line = self.lines.get(timeout=seconds)
        except queue.Empty:
            return None
        return json.loads(line) if line else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=560)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    trials = run(arguments.count, arguments.seed)
    for outcome, count in Counter(trial.outcome for trial in trials).most_common():
        print(f"{count:5} {outcome}")
    failures = [trial for trial in trials if not trial.passed]
    for trial in failures:
        print(f"{trial.name}: {trial.outcome} {trial.detail[:300]}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
