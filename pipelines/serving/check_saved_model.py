"""Serves images with a SavedModel like somebody who has TensorFlow but none of this project's code.

`export` runs this in a process of its own: python -I check_saved_model.py FOLDER SAMPLES.npz. It prints the largest
difference of a probability over both signatures.
"""

import sys

sys.modules["resnet_tf"] = sys.modules["pipelines"] = None  # type: ignore[assignment]  # importing them fails

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402


def main(folder: str, samples: str) -> None:
    signatures = tf.saved_model.load(folder).signatures
    names = [str(name) for name in signatures]
    assert names == ["serving_default", "serve_bytes"], names
    differences = []
    with np.load(samples, allow_pickle=False) as data:
        for number, expected in enumerate(data["expected"]):
            picture, content = data[f"image_{number}"], data[f"bytes_{number}"].tobytes()
            answers = (
                signatures["serving_default"](images=tf.constant(picture[None])),
                signatures["serve_bytes"](encoded=tf.constant([content])),
            )
            for answer in answers:
                served = answer["probabilities"].numpy()[0]
                assert int(answer["class_index"][0]) == int(served.argmax())
                differences.append(float(np.abs(served - expected).max()))
    print(float(np.max(differences)))  # NaN where one of them is


if __name__ == "__main__":
    main(*sys.argv[1:])
