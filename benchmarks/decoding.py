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

from pipelines.data.inspect import inspect_image
from pipelines.images.decode import decode_file, decode_pillow, decode_region_of_bytes
from pipelines.images.stream import InputSpec

VIEW = InputSpec(224)
HEADER = f"""\
`python benchmarks/decoding.py odd > docs/decoding.md`: mean absolute difference from Pillow's picture, upright and
over white, in grey levels of 255. Training: the whole picture, as the stream decodes it. Serving: the view of
{VIEW.size} pixels that `serve_bytes` makes from the file with TensorFlow alone, which decodes large JPEG files at a
smaller scale, and knows neither the orientation of a PNG nor what is transparent in a GIF or a BMP."""


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
            refused.append(f"| {name} | {oddity} | {facts.reason} |")
    print("# Odd files, and what the network sees of them\n")
    print(HEADER)
    print(f"TensorFlow {tf.__version__}, Pillow {PIL.__version__}, Python {platform.python_version()}.\n")
    print("| file | what is odd | decoder | training | serving |")
    print("|---|---|---|---|---|")
    print("\n".join(read))
    print("\nThese are named, and left out of training and `predict`:\n")
    print("| file | what is odd | reason |")
    print("|---|---|---|")
    print("\n".join(refused))


def trained(path: Path, facts: object) -> str:
    """Returns the difference of the whole picture in training."""
    picture = decode_file(tf.constant(str(path)), tf.constant(facts.decoder), tf.constant(facts.orientation))
    return difference(picture.numpy(), decode_pillow(path))


def served(path: Path) -> str:
    """Returns the difference of the evaluation's view in a served model, or "refused"."""
    try:
        input_spec = decode_region_of_bytes(tf.constant(path.read_bytes()), VIEW.evaluation_region)
    except tf.errors.OpError:
        return "refused"
    return difference(input_spec.numpy(), VIEW.for_evaluation(tf.constant(decode_pillow(path))).numpy())


def difference(found: np.ndarray, expected: np.ndarray) -> str:
    """Returns the difference of two pictures in words."""
    if found.shape != expected.shape:
        return f"{found.shape} for {expected.shape}"
    mean = np.abs(found.astype(int) - expected).mean()
    return f"{mean:.3f}" if mean else "0"


if __name__ == "__main__":
    main()
