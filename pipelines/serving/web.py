"""The web format: a folder for any static host, with a page that answers in the browser, where the photo stays."""

from dataclasses import asdict
from pathlib import Path

from pipelines.evaluation.run_calibration import load_calibration
from pipelines.runs.directory import Run
from pipelines.serving.browser_files import MOST_PIXELS, POLICY, index_page, style, text_of
from pipelines.serving.plain_network import PlainNetwork
from pipelines.serving.web_runtime import VERSION, Runtime

MODEL = "model.onnx"
# A page cannot forbid its own framing; the rest is the same as on the page of this machine, and it may compile.
WEB_POLICY = POLICY.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'").partition("; frame-")[0]
_SCRIPTS = {"ask.js": "ask.js", "answer.js": "answer_in_browser.js", "picture.js": "picture.js", "view.js": "view.js"}
_LICENCES = f"""onnxruntime.js and onnxruntime.wasm are of ONNX Runtime {VERSION} (https://onnxruntime.ai).

{text_of("onnxruntime_licence.txt")}"""


def write_web(run: Run, network: PlainNetwork, runtime: Runtime, folder: Path) -> None:
    """Writes the files of the page into a folder, beside its network.

    Args:
        run: Run that the network is of.
        network: The network, for its classes and its view.
        runtime: ONNX Runtime for browsers.
        folder: Folder with the ONNX file of the same network, as `pipelines.serving.onnx_file` writes it.
    """
    content = {
        "index.html": _page(run, network, (folder / MODEL).stat().st_size + len(runtime.wasm)).encode(),
        "ask.css": style().encode(),
        **{name: text_of(source).encode() for name, source in _SCRIPTS.items()},
        "onnxruntime.js": runtime.script,
        "onnxruntime.wasm": runtime.wasm,
        "licences.txt": _LICENCES.encode(),
    }
    for name, data in content.items():
        (folder / name).write_bytes(data)


def _page(run: Run, network: PlainNetwork, size: int) -> str:
    calibration = load_calibration(run)
    facts = {
        "classes": network.classes,
        "threshold": None if calibration is None else calibration.threshold,
        "view": {**asdict(network.view), "side": network.view.side},
        "most_pixels": MOST_PIXELS,
        "bytes": size,
    }
    lead = f"Photos stay in this browser. The network {run.name} knows {len(network.classes)} classes."
    return index_page(f"Photos for {run.name}", lead, facts, WEB_POLICY)
