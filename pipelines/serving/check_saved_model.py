"""Serves images with a SavedModel like somebody who has TensorFlow but none of this project's code.

`export` runs this in a process of its own: python -I check_saved_model.py FOLDER SAMPLES.npz. It prints the largest
difference of a probability over all signatures.
"""

import sys

sys.modules["resnet_tf"] = sys.modules["pipelines"] = None  # type: ignore[assignment]  # importing them fails

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

NO_IMAGE = b"no image"


def main(folder: str, samples: str) -> None:
    signatures = tf.saved_model.load(folder).signatures
    names = sorted(str(name) for name in signatures)
    assert names == ["classify", "serve_bytes", "serving_default"], names
    differences = []
    with np.load(samples, allow_pickle=False) as data:
        for number, expected in enumerate(data["expected"]):
            picture, content = data[f"image_{number}"], data[f"bytes_{number}"].tobytes()
            by_images = signatures["serving_default"](images=tf.constant(picture[None]))
            by_bytes = signatures["serve_bytes"](encoded=tf.constant([content, NO_IMAGE]))
            by_example = signatures["classify"](inputs=tf.constant([example(content)]))
            for answer in (by_images, by_bytes):
                served = answer["probabilities"].numpy()[0]
                assert answer["status"].numpy()[0] == b"ok"
                assert int(answer["class_index"][0]) == int(served.argmax())
                differences.append(float(np.abs(served - expected).max()))
            assert by_bytes["status"].numpy()[1] == b"not an image"
            differences.append(float(np.abs(by_example["scores"].numpy()[0] - expected).max()))
    print(float(np.max(differences)))  # NaN where one of them is


def example(content: bytes) -> bytes:
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))
    return tf.train.Example(features=tf.train.Features(feature={"image/encoded": feature})).SerializeToString()


if __name__ == "__main__":
    main(*sys.argv[1:])
