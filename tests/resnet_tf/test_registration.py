"""After `import resnet_tf`, Keras opens files with any class of this package in them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

import resnet_tf
from resnet_tf import addons
from resnet_tf.loss_scaling import AgreedLossScaleOptimizer
from resnet_tf.losses import SmoothedCrossentropy
from resnet_tf.optimizers import PenalizedSGD

REGISTERED = re.compile(
    r'^@keras\.saving\.register_keras_serializable\(package="resnet_tf"\)\nclass (\w+)', re.MULTILINE
)

WITH_ADDONS = """
import sys
import resnet_tf
import keras
for path in sys.argv[1:]:
    model = keras.saving.load_model(path)
    print(type(model.optimizer).__name__, type(model.optimizer.inner_optimizer).__name__)
"""


def test_a_model_that_was_compiled_with_addons_opens_after_the_import_of_the_package(tmp_path):
    rate = addons.TriangularCyclicalLearningRate(1e-4, 1e-2, step_size=20)
    compiled = {
        "ranger": (addons.Lookahead(addons.RectifiedAdam(rate)), "mse", [addons.CohenKappa(3)]),
        "swa": (addons.SWA(PenalizedSGD(0.1, momentum=0.9)), SmoothedCrossentropy(), []),
        "scaled": (AgreedLossScaleOptimizer(keras.optimizers.Adam()), "mse", []),
    }
    compiled["ranger"][2].append(addons.MatthewsCorrelationCoefficient(3))
    for name, (optimizer, loss, metrics) in compiled.items():
        inputs = keras.Input((3,))
        outputs = addons.StochasticDepth(0.5)([inputs, keras.layers.Dense(3)(inputs)])
        model = keras.Model(inputs, outputs)
        model.compile(optimizer, loss, metrics=metrics)
        model.fit(np.ones((4, 3)), np.eye(3)[[0, 1, 2, 0]], verbose=0)
        model.save(tmp_path / f"{name}.keras")
    command = [sys.executable, "-c", WITH_ADDONS, *(str(tmp_path / f"{name}.keras") for name in compiled)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    expected = ["Lookahead RectifiedAdam", "SWA PenalizedSGD", "AgreedLossScaleOptimizer Adam"]
    assert result.stdout.splitlines() == expected


def test_every_registered_class_is_registered_by_the_import_of_the_package():
    """A class that is added later has to be in the list of modules that are imported for it."""
    script = (
        "import resnet_tf, keras, json; names = sorted(keras.saving.get_custom_objects()); print(json.dumps(names))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    source = Path(resnet_tf.__file__).parent.rglob("*.py")
    written = [name for path in source for name in REGISTERED.findall(path.read_text(encoding="utf-8"))]
    assert len(written) > 10
    assert {f"resnet_tf>{name}" for name in written} <= set(json.loads(result.stdout))
