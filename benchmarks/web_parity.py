"""Compares the answers of a web export in a real Chromium with those of `predict`, and times them.

    resnet-tf export RUN --format web
    python benchmarks/web_parity.py RUN PHOTO…

It prints a line for each photo whose answers differ by more than 0.001 or that one of the two refuses, and then the
largest difference, the share of photos within 0.001, and the median time of an answer in the browser.
"""

import base64
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipelines.data.named_files import expand
from pipelines.evaluation.pictures import predict_images
from pipelines.runs.directory import Run
from resnet_tf.errors import UserError
from tests.pipelines.browsers import chromium, opened, served

_BOUND = 1e-3
_ASK = """async ([name, content]) => {
  const { answer } = await import("./answer.js");
  const file = new File([Uint8Array.from(atob(content), (sign) => sign.charCodeAt(0))], name);
  const begin = performance.now();
  try {
    const { classes } = await answer(file);
    const found = Object.fromEntries(classes.map(({ name, probability }) => [name, probability]));
    return { found, milliseconds: performance.now() - begin };
  } catch (error) {
    return { error: error.message };
  }
}"""


def main(folder: str, patterns: list[str]) -> None:
    run, files = Run(Path(folder)), [file for pattern in patterns for file in expand(pattern)]
    web = run.export_report.parent / "web"
    differences, times = [], []
    with chromium() as browser, served(web) as address, opened(browser, address) as page:
        page.locator("#told", has_text="ready").wait_for()
        for file in files:
            in_browser, here = asked(page, file), predicted(run, file)
            if "error" in in_browser or "error" in here:
                print(f"{file}: predict: {here.get('error', 'answers')}; browser: {in_browser.get('error', 'answers')}")
                continue
            times.append(in_browser["milliseconds"])
            found = in_browser["found"]
            differences.append(max(abs(found[name] - value) for name, value in here["found"].items()))
            if differences[-1] > _BOUND:
                print(f"{file}: {differences[-1]:.2g}")
    within = np.mean(np.array(differences) <= _BOUND)
    print(f"{len(differences)} photos: largest difference {max(differences):.2g}, {within:.1%} within {_BOUND:g}")
    print(f"median time of an answer: {np.median(times):.0f} ms")


def asked(page: Any, file: Path) -> dict[str, Any]:
    return page.evaluate(_ASK, [file.name, base64.b64encode(file.read_bytes()).decode()])


def predicted(run: Run, file: Path) -> dict[str, Any]:
    try:
        row = predict_images(run, [file]).iloc[0]
    except UserError as error:
        return {"error": str(error)}
    return {"found": {name[2:]: row[name] for name in row.index if name.startswith("p:")}}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
