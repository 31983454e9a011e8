"""Asks a real server about photos for a minute, with some wrong files among them, and says how it held up.

    make servers
    .venv-servers/bin/python benchmarks/serving.py RUN PHOTOS [--clients 8 --seconds 60 --batch 1]

RUN is an exported run and PHOTOS a folder of photos. MLServer serves the SavedModel on the loopback, and clients ask it
over gRPC at the same time, each without a pause. Every tenth file is cut in half or no photo. The answers are compared
with those of the SavedModel without a server, by status and class. It prints latencies, and the server's memory after
a tenth of the time and at the end.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import tensorflow as tf
import tritonclient.grpc as grpc

from tests.servers.mlserver_process import NAME, started

EVERY = 10  # each so many-th file is a wrong one


def main() -> None:
    """Prints the figures; the exit code is 1 where an answer was lost or another one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--batch", type=int, default=1)
    arguments = parser.parse_args()
    saved_model = arguments.run / "export" / "saved_model" / "1"
    batches = _batches(arguments.photos, arguments.batch)
    expected = _expected(saved_model, batches)
    with tempfile.TemporaryDirectory() as folder, started(saved_model, Path(folder)) as server:
        address, end = f"127.0.0.1:{server.grpc_port}", time.monotonic() + arguments.seconds
        found: list[list[tuple[float, bool]]] = [[] for _ in range(arguments.clients)]
        threads = [
            threading.Thread(target=_client, args=(address, batches, expected, (number, end), found[number]))
            for number in range(arguments.clients)
        ]
        for thread in threads:
            thread.start()
        time.sleep(arguments.seconds / 10)
        early = _memory_mib(server.process.pid)
        for thread in threads:
            thread.join()
        late = _memory_mib(server.process.pid)
    answers = [answer for each in found for answer in each]
    wrong = sum(not right for _, right in answers)
    p50, p99 = np.percentile([seconds for seconds, _ in answers], [50, 99]) * 1000
    print(f"{arguments.clients} clients, {arguments.seconds:g} s, {arguments.batch} photos a request")
    print(f"{len(answers)} requests, {len(answers) * arguments.batch / arguments.seconds:.1f} photos/s")
    print(f"latency: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    print(f"memory of the server: {early:.0f} MiB after a tenth of the time, {late:.0f} MiB at the end")
    print(f"lost or wrong answers: {wrong}")
    raise SystemExit(int(wrong > 0))


def _batches(folder: Path, size: int) -> list[list[bytes]]:
    """Returns batches of the folder's first photos, of which every tenth is cut in half or no photo."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    contents = [path.read_bytes() for path in paths[:: max(1, len(paths) // (20 * size))][: 20 * size]]
    for place in range(0, len(contents), EVERY):
        contents[place] = b"no photo" if place % (2 * EVERY) else contents[place][: len(contents[place]) // 2]
    return [contents[place : place + size] for place in range(0, len(contents), size)]


def _expected(saved_model: Path, batches: list[list[bytes]]) -> list[list[tuple[str, str]]]:
    serve = tf.saved_model.load(str(saved_model)).signatures["serve_bytes"]
    answers = [serve(encoded=tf.constant(batch)) for batch in batches]
    return [_facts(answer["status"].numpy(), answer["class_name"].numpy()) for answer in answers]


def _facts(*columns: Any) -> list[tuple[str, str]]:
    texts = [[each.decode() for each in column.ravel()] for column in columns]
    return list(zip(*texts, strict=True))


def _client(
    address: str, batches: list[Any], expected: list[Any], turn: tuple[int, float], found: list[tuple[float, bool]]
) -> None:
    """Asks until the end, and notes the seconds of each request and whether its answer is the expected one."""
    client, (place, end) = grpc.InferenceServerClient(address), turn
    while time.monotonic() < end:
        place = (place + 1) % len(batches)
        tensor = grpc.InferInput("encoded", [len(batches[place])], "BYTES")
        tensor.set_data_from_numpy(np.array(batches[place], object))
        start = time.monotonic()
        try:
            answer = client.infer(NAME, [tensor], client_timeout=60)
            right = _facts(answer.as_numpy("status"), answer.as_numpy("class_name")) == expected[place]
        except Exception as error:  # whatever it is, the answer is lost
            print(error, file=sys.stderr)
            right = False
        found.append((time.monotonic() - start, right))
    client.close()


def _memory_mib(process: int) -> float:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


if __name__ == "__main__":
    main()
