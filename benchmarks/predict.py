"""Measures images per second and peak memory of `resnet-tf predict`, beside a plain loop with Keras.

    python benchmarks/predict.py RUN FOLDER [--rounds 3]
    python benchmarks/predict.py RUN --draw 1000 10000 100000 [--rounds 1]

Both read the pictures of a folder, ask the run's model in batches of 32, and write a CSV with all probabilities. The
loop is what a tutorial has: `image_dataset_from_directory`, `model.predict`, a softmax, and a DataFrame. It does not
inspect the files, applies no temperature, and cannot be continued. Each measurement is a process of its own, and both
take turns; the time does not include the imports. With --draw, folders of JPEG pictures of 64 × 64 pixels are made in a
temporary place; the memory must not grow with their number.
"""

import argparse
import io
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from implementations import peak_mib
from PIL import Image
from turns import Variant, measure_in_turn, print_table

BATCH_SIZE = 32
_DIFFERENT = 500  # pictures with pixels of their own; the others repeat them
_PER_FOLDER = 5000
VARIANTS = ("plain Keras loop", "resnet-tf predict")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--draw", type=int, nargs="+", default=[], help="numbers of pictures to draw")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measured(arguments.only, arguments.run, arguments.folder)))
        return
    folders = {arguments.folder: arguments.folder} if arguments.folder else {}
    with tempfile.TemporaryDirectory() as place:
        for count in arguments.draw:
            folders[f"{count:,} drawn pictures"] = str(draw(Path(place) / str(count), count))
        for title, folder in folders.items():
            variants = {name: Variant((arguments.run, folder, "--only", name)) for name in VARIANTS}
            print_table(title, measure_in_turn(__file__, variants, arguments.rounds))


def draw(folder: Path, count: int) -> Path:
    """Draws pictures of 64 × 64 pixels, some thousand to a folder."""
    random = np.random.default_rng(0)
    contents = []
    for _ in range(min(count, _DIFFERENT)):
        blocks = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
        buffer = io.BytesIO()
        blocks.resize((64, 64), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        contents.append(buffer.getvalue())
    for number in range(count):
        below = folder / f"{number // _PER_FOLDER:03d}"
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{number:07d}.jpg").write_bytes(contents[number % _DIFFERENT])
    return folder


def measured(variant: str, run: str, folder: str) -> dict[str, float]:
    """Returns the images per second and the peak memory of one of the variants."""
    predict = _ours if variant == VARIANTS[1] else _plain_loop
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "answers.csv"
        started = time.perf_counter()
        predict(run, folder, out)
        seconds = time.perf_counter() - started
        rows = sum(1 for _ in out.open("rb")) - 1
    return {"images_per_second": rows / seconds, "peak_mib": peak_mib()}


def _ours(run: str, folder: str, out: Path) -> None:
    from pipelines.config.judging import PredictConfig
    from pipelines.console.terminal import quiet
    from pipelines.predict import predict

    with quiet():
        predict(PredictConfig(run, (folder,), out=str(out), strategy="one"))


def _plain_loop(run: str, folder: str, out: Path) -> None:
    import keras
    import pandas as pd

    model = keras.saving.load_model(Path(run) / "model.keras", compile=False)
    size = model.input_shape[1:3] if model.input_shape[1] else (224, 224)
    images = keras.utils.image_dataset_from_directory(
        folder, labels=None, shuffle=False, image_size=size, crop_to_aspect_ratio=True, batch_size=BATCH_SIZE, verbose=0
    )
    probabilities = keras.ops.softmax(model.predict(images, verbose=0)).numpy()
    classes = json.loads((Path(run) / "classes.json").read_text())
    table = pd.DataFrame(probabilities, columns=[f"p:{name}" for name in classes])
    table.insert(0, "path", images.file_paths)
    table.insert(1, "predicted", [classes[number] for number in probabilities.argmax(axis=1)])
    table.to_csv(out, index=False)


if __name__ == "__main__":
    main()
