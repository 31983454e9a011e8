"""Does the whole job with nothing but the installed wheel, then opens its model.keras with plain Keras.

    make wheel

runs this in an empty folder, with the Python of an environment in which only the wheel and its dependencies are.
"""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

COMMAND = str(Path(sys.executable).with_name("resnet-tf"))
IMAGES = """
import numpy as np
np.save("images.npy", np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype="uint8"))
"""
PLAIN = """
import json, sys
import keras, numpy as np
model = keras.saving.load_model("run/model.keras")
assert not {"resnet_tf", "pipelines"} & set(sys.modules)
kinds = {type(layer).__module__.partition(".")[0] for layer in model.layers}
assert kinds == {"keras"}, kinds
print(json.dumps(model.predict(np.load("images.npy"), verbose=0).tolist()))
"""
OURS = """
import json
import numpy as np, resnet_tf
print(json.dumps(resnet_tf.load("run").model.predict(np.load("images.npy"), verbose=0).tolist()))
"""


def main(wheel: str) -> None:
    check_files(wheel)
    run(COMMAND, "--version")
    run(COMMAND, "sample", "photos", "--classes", "2", "--per-class", "12", "--size", "40")
    run(COMMAND, "audit", "photos")
    options = "--run run --weights none --arch cifar_resnet20 --image-size 32 --epochs 1 --batch-size 8"
    run(COMMAND, "finetune", "photos", *options.split())
    run(COMMAND, "evaluate", "run")
    run(COMMAND, "export", "run")
    table = run(COMMAND, "predict", "run", "photos", "--out", "-").splitlines()
    assert table[0].startswith("path,predicted,confidence,"), table[0]
    assert len(table) == 25, len(table)
    run(sys.executable, "-c", IMAGES)
    ours = json.loads(run(sys.executable, "-c", OURS))
    run(sys.executable, "-m", "pip", "uninstall", "--yes", "--quiet", "resnet-tf")
    plain = json.loads(run(sys.executable, "-c", PLAIN))
    largest = max(abs(value) for row in ours for value in row)
    difference = max(
        abs(a - b) for one, other in zip(ours, plain, strict=True) for a, b in zip(one, other, strict=True)
    )
    assert difference <= 1e-5 * largest, (difference, largest)
    print(f"the wheel does the whole job, and plain Keras opens its model (difference {difference / largest:.1g})")


def check_files(wheel: str) -> None:
    """The wheel has the two packages, what belongs to them, and nothing else of the repository."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    others = [name for name in names if not name.startswith(("resnet_tf/", "pipelines/", "resnet_tf-"))]
    assert not others, others
    assert "pipelines/serving/check_saved_model.py" in names
    assert "resnet_tf/weights/imagenet_classes.txt" in names
    assert {"resnet_tf/weights/drawn.safetensors", "resnet_tf/weights/drawn.md"} <= set(names)
    print("\n".join(names))


def run(*words: str) -> str:
    """Runs a command; returns what it prints on standard output."""
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(words)}: exit code {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout


if __name__ == "__main__":
    main(sys.argv[1])
