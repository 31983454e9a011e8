"""The web format: a folder for any static host, with a page that answers in the browser, where the photo stays."""

from dataclasses import asdict
from pathlib import Path

from pipelines.serving.browser_files import MOST_PIXELS, POLICY, index_page, style, text_of
from pipelines.serving.exported import Exported
from pipelines.serving.web_runtime import VERSION, Runtime

MODEL = "model.onnx"
# A page cannot forbid its own framing; the rest is the same as on the page of this machine, and it may compile.
WEB_POLICY = POLICY.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'").partition("; frame-")[0]
_SCRIPTS = {"ask.js": "ask.js", "answer.js": "answer_in_browser.js", "picture.js": "picture.js", "view.js": "view.js"}
_LICENCES = f"""onnxruntime.js and onnxruntime.wasm are of ONNX Runtime {VERSION} (https://onnxruntime.ai).

{text_of("onnxruntime_licence.txt")}"""


def write_web(exported: Exported, runtime: Runtime, folder: Path) -> None:
    """Writes the files of the page into a folder, beside its network.

    Args:
        exported: The model, for its name, its classes, its view and its calibration.
        runtime: ONNX Runtime for browsers.
        folder: Folder with the ONNX file of the same network, as `pipelines.serving.onnx_file` writes it.
    """
    content = {
        "index.html": _page(exported, (folder / MODEL).stat().st_size + len(runtime.wasm)).encode(),
        "ask.css": style().encode(),
        **{name: text_of(source).encode() for name, source in _SCRIPTS.items()},
        "onnxruntime.js": runtime.script,
        "onnxruntime.wasm": runtime.wasm,
        "licences.txt": _LICENCES.encode(),
    }
    for name, data in content.items():
        (folder / name).write_bytes(data)


def _page(exported: Exported, size: int) -> str:
    name, network, calibration = exported.run.name, exported.network, exported.calibration
    facts = {
        "classes": network.classes,
        "threshold": None if calibration is None else calibration.threshold,
        "view": {**asdict(network.view), "side": network.view.side},
        "most_pixels": MOST_PIXELS,
        "bytes": size,
    }
    lead = f"Photos stay in this browser. The network {name} knows {len(network.classes)} classes."
    return index_page(f"Photos for {name}", lead, facts, WEB_POLICY)
