"""Measures images per second of the input alone: our stream, Keras's folder reader, and a PyTorch-style Pillow loader.

    python benchmarks/input_stream.py [--rounds 5 --seconds 4]

JPEG files of 500 × 375 and of 4000 × 3000 pixels are drawn into a temporary folder. The loaders take turns in
processes of their own, and medians are compared.

Plain images are those of evaluation. Ours and Pillow's resize the shorter side to 256 and cut 224 out of the middle,
antialiased; Keras's reader resizes to 224 × 224 without antialiasing, and keras_antialiased does so with it. Augmented
images have a random resized crop and a flip in ours, and in Pillow's as in torchvision; Keras's layers zoom and flip
the batch.

At the end, it measures the time to the first batch of a manifest with a million rows, and the peak memory.
"""

import argparse
import json
import math
import multiprocessing
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE, BATCH = 224, 32
AUGMENTED = ("resnet_tf", "keras", "pillow")
PLAIN = (*AUGMENTED, "keras_antialiased")
PICTURES = {"500x375": (500, 375, 192), "4000x3000": (4000, 3000, 32)}
ROWS = 1_000_000


def draw(folder: Path) -> None:
    """Draws blurred noise at several scales, which gives file sizes like ImageNet's, in two classes."""
    generator = np.random.default_rng(0)
    for name, (width, height, count) in PICTURES.items():
        for number in range(count):
            layers = [Image.fromarray(generator.integers(0, 256, (n, n, 3)).astype(np.uint8)) for n in (4, 16, 64, 200)]
            large = [np.asarray(layer.resize((500, 375), Image.Resampling.BICUBIC), np.float32) for layer in layers]
            picture = Image.fromarray(np.average(large, 0, [4, 3, 2, 1]).astype(np.uint8))
            path = folder / name / f"class{number % 2}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90)


def ours(folder: Path, augmented: bool) -> Iterator[Any]:
    import pandas as pd

    from pipelines.images.stream import ImageSource, InputSpec, Order, evaluation_stream, training_stream

    files = sorted(folder.glob("*/*.jpg"))
    rows = pd.DataFrame({"path": [str(file.relative_to(folder)) for file in files]})
    rows["label"] = [file.parent.name for file in files]
    rows["decoder"], rows["orientation"] = "tensorflow", 1
    classes, input_spec = sorted(set(rows["label"])), InputSpec(SIZE)
    if augmented:
        yield from training_stream(
            ImageSource(rows, folder, classes), input_spec, Order(batch_size=BATCH, seed=0, epochs=10**6)
        )
    yield from evaluation_stream(ImageSource(rows, folder, classes), input_spec, BATCH).repeat()


def keras_reader(folder: Path, augmented: bool) -> Iterator[Any]:
    import keras
    import tensorflow as tf

    data = keras.utils.image_dataset_from_directory(
        folder, image_size=(SIZE, SIZE), batch_size=BATCH, shuffle=augmented, seed=0, verbose=False
    )
    if augmented:
        layers = [
            keras.layers.RandomZoom((-0.4, 0.0), seed=0),
            keras.layers.RandomFlip("horizontal", seed=0),
        ]

        def augment(images: Any, labels: Any) -> Any:
            for layer in layers:
                images = layer(images, training=True)
            return images, labels

        data = data.map(augment, num_parallel_calls=tf.data.AUTOTUNE)
    yield from data.repeat().prefetch(2)


def keras_antialiased(folder: Path, augmented: bool) -> Iterator[Any]:
    """Reads like `keras_reader` in evaluation, but resizes like Pillow, torchvision and ours."""
    import keras
    import tensorflow as tf

    assert not augmented

    def load(path: Any) -> tuple[Any, Any]:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return keras.ops.image.resize(image, (SIZE, SIZE), antialias=True), 0

    files = tf.data.Dataset.from_tensor_slices([str(file) for file in sorted(folder.glob("*/*.jpg"))])
    yield from files.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH).repeat().prefetch(2)


def pillow_loader(folder: Path, augmented: bool) -> Iterator[Any]:
    """Reads in worker processes that each make a whole batch, like those of torch.utils.data.DataLoader."""
    files = [str(file) for file in sorted(folder.glob("*/*.jpg"))]

    def numbers() -> Iterator[list[str]]:
        while True:
            order = random.Random(0).sample(files, len(files)) if augmented else files  # noqa: S311
            for start in range(0, len(order), BATCH):
                yield order[start : start + BATCH]

    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        waiting = []
        for names in numbers():
            waiting.append(pool.apply_async(partial(_pillow_batch, names, augmented)))
            if len(waiting) > 2 * (os.cpu_count() or 1):
                yield waiting.pop(0).get()


def _pillow_batch(names: list[str], augmented: bool) -> np.ndarray:
    return np.stack([_pillow_crop(name) if augmented else _pillow_centre(name) for name in names])


def _pillow_centre(name: str) -> np.ndarray:
    image = Image.open(name).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - SIZE) // 2, (image.height - SIZE) // 2
    return np.asarray(image.crop((left, top, left + SIZE, top + SIZE)))


def _pillow_crop(name: str) -> np.ndarray:
    image = Image.open(name).convert("RGB")
    area = image.width * image.height * random.uniform(0.35, 1.0)  # noqa: S311
    aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))  # noqa: S311
    width, height = min(image.width, int(math.sqrt(area * aspect))), min(image.height, int(math.sqrt(area / aspect)))
    left, top = random.randint(0, image.width - width), random.randint(0, image.height - height)  # noqa: S311
    image = image.crop((left, top, left + width, top + height)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    if random.random() < 0.5:  # noqa: S311
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(image)


def measure(loader: str, folder: Path, augmented: bool, seconds: float) -> float:
    """Returns the images per second of one loader."""
    loaders = {
        "resnet_tf": ours,
        "keras": keras_reader,
        "keras_antialiased": keras_antialiased,
        "pillow": pillow_loader,
    }
    return images_per_second(loaders[loader](folder, augmented), seconds)


def images_per_second(batches: Iterator[Any], seconds: float) -> float:
    """Returns images per second after four batches, in which the graph is built or which were prepared ahead.

    A batch is an array, or images and labels.
    """
    for _ in range(4):
        next(batches)
    images, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        batch = next(batches)
        images += int((batch[0] if isinstance(batch, tuple) else batch).shape[0])
    return images / (time.perf_counter() - started)


def measure_million(folder: Path) -> dict[str, float]:
    """Measures the way from a table in memory to the first batch of training."""
    import pandas as pd
    import tensorflow as tf

    from pipelines.images.stream import ImageSource, InputSpec, Order, training_stream

    files = [str(file.relative_to(folder)) for file in sorted(folder.glob("*/*.jpg"))]
    rows = pd.DataFrame({"path": np.resize(np.array(files, object), ROWS)})
    rows["label"] = np.resize(np.array([f"class{number:03d}" for number in range(1000)], object), ROWS)
    rows["decoder"], rows["orientation"] = "tensorflow", 1
    tf.zeros(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    classes = sorted(set(rows["label"]))
    next(iter(training_stream(ImageSource(rows, folder, classes), InputSpec(SIZE), Order(batch_size=BATCH, seed=0))))
    return {
        "seconds": time.perf_counter() - started,
        "before_mib": before / 1024,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def in_own_process(folder: Path, *words: str) -> Any:
    command = [sys.executable, __file__, "--folder", str(folder), *words]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--augmented", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only == "million":
        print(json.dumps(measure_million(Path(arguments.folder))))
    elif arguments.only:
        print(json.dumps(measure(arguments.only, Path(arguments.folder), arguments.augmented, arguments.seconds)))
    else:
        compare(arguments.rounds, arguments.seconds)


def compare(rounds: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        draw(folder)
        print(f"images/s, median of {rounds} alternating runs of {seconds:g} s, {os.cpu_count()} cores")
        for name in PICTURES:
            for loaders, words in ((PLAIN, []), (AUGMENTED, ["--augmented"])):
                rates: dict[str, list[float]] = {loader: [] for loader in loaders}
                for _ in range(rounds):
                    for loader in loaders:
                        options = ["--only", loader, "--seconds", str(seconds), *words]
                        rates[loader].append(in_own_process(folder / name, *options))
                medians = {loader: statistics.median(found) for loader, found in rates.items()}
                row = "  ".join(f"{loader} {rate:7.1f}" for loader, rate in medians.items())
                ratios = "  ".join(f"{medians['resnet_tf'] / medians[other]:.2f} x {other}" for other in loaders[1:])
                print(f"{name:10s} {'augmented' if words else 'plain':10s} {row}   ours: {ratios}", flush=True)
        found = in_own_process(folder / "500x375", "--only", "million")
        print(
            f"first batch of {ROWS:,} rows: {found['seconds']:.2f} s, peak {found['peak_mib']:.0f} MiB "
            f"({found['before_mib']:.0f} MiB before)"
        )


if __name__ == "__main__":
    main()
