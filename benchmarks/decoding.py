"""Compares the decoding of odd files with Pillow's, and prints the table in docs/decoding.md.

    python benchmarks/decoding.py FOLDER > docs/decoding.md

FOLDER is the shared set of strange files, `odd/`, whose manifest.csv says what is odd about each.
"""

import os
import platform
import sys
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import PIL
import tensorflow as tf

from pipelines.data.damage import MAX_SCANNED_PIXELS, MAX_SCANS
from pipelines.data.inspect import MAX_FILE_BYTES, inspect_image
from pipelines.images.decode import decode_file, decode_pillow, decode_region_of_bytes
from pipelines.images.pixel_limit import MAX_PIXELS
from pipelines.images.stream import InputSpec
from pipelines.serving.status import DAMAGED, reason

VIEW = InputSpec(224)
CAMPAIGN = "1200 damaged files of 32 kinds, seed 0: 433 readable, 767 refused, 0 disagreements"
HEADER = f"""\
`python benchmarks/decoding.py odd > docs/decoding.md` makes this page. It shows the mean absolute difference from
Pillow's picture, which is turned upright and laid over white, in gray levels of 0 to 255.

- **Training** is the whole picture, as training decodes it.
- **Serving** is the view of {VIEW.size} pixels that `serve_bytes` makes from the file with TensorFlow alone, or the
  status that it answers with. Both decode large JPEG files at a smaller scale.
"""
REST = f"""
## More than 8 bits

Images of 8 bits are never scaled. Images of more bits, or of floating-point numbers, are scaled by one range for all
images of a run. `--range` chooses it, `config.json` keeps it, and evaluation, `predict` and `serve_bytes` use it.

| rule | integers | floating-point numbers |
|---|---|---|
| auto | the first of 1, 2, 4, 8, 10, 12, 14 and 16 bits that holds all values | the first of 0 … 1 and 0 … 255 |
| type | 0 … 65535, or the signed or 32-bit type | 0 … 1 |
| percentiles, and auto where nothing fits | lowest 0.1th to highest 99.9th percentile of an image | the same |

A run whose images all have 8 bits has no range. Other images are then scaled one by one, by the smallest depth of 8
bits or more that holds the image's values, or else by its lowest and highest value. The audit states the range. It
names each picture of which the network will see fewer than 16 levels, and each whose values lie beyond the range. It
calls files with NaN or infinite values unreadable, and also a TIFF whose bands are not colours.

## Damaged files

Where Pillow decodes a file, the audit decodes it with the same function as training. For JPEG and PNG, which TensorFlow
decodes, it also checks what TensorFlow checks: that the end is there, and that a PNG's parts, check sums and compressed
pixels are right.

`python -m tests.campaigns.images --count 1200 --seed 0` damages files of 32 kinds. It compares the audit's verdict with
training's decoders, and with serving's for JPEG and PNG:

> {CAMPAIGN}

## Limits

| limit | where it holds |
|---|---|
| {MAX_PIXELS:,} pixels | audit, training, serving |
| {MAX_SCANS} scans of a JPEG; {MAX_SCANNED_PIXELS / 1e9:g} billion pixels in all scans | audit, training, serving |
| {MAX_FILE_BYTES // 2**20} MiB in a file | audit |"""


def main() -> None:
    """Prints the table."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    warnings.simplefilter("ignore")  # Pillow warns about odd files
    root = Path(sys.argv[1])
    odd = pd.read_csv(root / "manifest.csv").set_index("file")["what_is_odd"]
    read, refused = [], []
    for name, oddity in odd.items():
        facts = inspect_image(root / name, root)
        if facts.readable:
            differences = f"{trained(root / name, facts)} | {served(root / name)}"
            read.append(f"| {name} | {oddity} | {facts.decoder} | {differences} |")
        else:
            status = status_of(tf.constant((root / name).read_bytes()))
            refused.append(f"| {name} | {oddity} | {facts.reason} | {status} |")
    print("# Odd files, and what the network sees of them\n")
    print(HEADER)
    print(f"TensorFlow {tf.__version__}, Pillow {PIL.__version__}, Python {platform.python_version()}.\n")
    print("| file | what is odd | decoder | training | serving |")
    print("|---|---|---|---|---|")
    print("\n".join(read))
    print("\nTraining and `predict` leave these files out and name them, and serving answers with a status:\n")
    print("| file | what is odd | reason | status in serving |")
    print("|---|---|---|---|")
    print("\n".join(refused))
    print(REST)


def trained(path: Path, facts: object) -> str:
    """Returns the difference of the whole picture in training."""
    picture = decode_file(tf.constant(str(path)), tf.constant(facts.decoder), tf.constant(facts.orientation))
    return difference(picture.numpy(), decode_pillow(path))


def served(path: Path) -> str:
    """Returns the difference of the evaluation's view in a served model, or the status of what it does not decode."""
    content = tf.constant(path.read_bytes())
    try:
        view = decode_region_of_bytes(content, VIEW.evaluation_region)
    except tf.errors.OpError:
        return status_of(content)
    return difference(view.numpy(), VIEW.for_evaluation(tf.constant(decode_pillow(path))).numpy())


def status_of(content: tf.Tensor) -> str:
    """Returns why a served model does not decode a file."""
    try:
        return reason(content).numpy().decode()
    except tf.errors.OpError:
        return DAMAGED


def difference(found: np.ndarray, expected: np.ndarray) -> str:
    """Returns the difference of two pictures in words."""
    if found.shape != expected.shape:
        return f"{found.shape} for {expected.shape}"
    mean = np.abs(found.astype(int) - expected).mean()
    return f"{mean:.3f}" if mean else "0"


if __name__ == "__main__":
    main()
