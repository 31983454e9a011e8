"""resnet_tf.addons computes what tensorflow-addons computed, and reads the files of its users. See `make oracle`."""

import os
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import resnet_tf
from resnet_tf import addons
from tests.conftest import relative_error
from tests.oracle import cases

REFERENCES = os.environ.get("RESNET_TF_ORACLE", "")
pytestmark = pytest.mark.skipif(not REFERENCES, reason="`make oracle` computes the references and runs these tests")

# Both sides add up float32 numbers, but in a different order.
TOLERANCE = 2e-6
# RAdam divides by 1 - beta_2 ** step, which loses half of its digits in float32 at the first steps.
RADAM_TOLERANCE = 1e-5


def reference(name: str) -> dict[str, np.ndarray]:
    with np.load(Path(REFERENCES) / f"{name}.npz") as archive:
        return dict(archive)


@pytest.mark.parametrize("weights", ["plain", "weighted"])
@pytest.mark.parametrize("case", cases.KAPPA)
def test_cohen_kappa_after_each_batch(case, weights):
    classes, arguments, _ = cases.KAPPA[case]
    follow(addons.CohenKappa(num_classes=classes, **arguments), f"kappa/{case}/{weights}")


@pytest.mark.parametrize("weights", ["plain", "weighted"])
@pytest.mark.parametrize("classes", cases.MCC_CLASSES)
def test_matthews_correlation_coefficient_after_each_batch(classes, weights):
    follow(addons.MatthewsCorrelationCoefficient(num_classes=classes), f"mcc/{classes}/{weights}")


def follow(metric: keras.metrics.Metric, key: str) -> None:
    values = reference("metrics")
    results = []
    for batch, _ in enumerate(cases.BATCHES):
        true, predicted = values[f"{key}/{batch}/true"], values[f"{key}/{batch}/predicted"]
        metric.update_state(true, predicted, sample_weight=values.get(f"{key}/{batch}/weights"))
        results.append(float(metric.result()))
    expected = [float(values[f"{key}/{batch}/result"]) for batch, _ in enumerate(cases.BATCHES)]
    np.testing.assert_allclose(results, expected, atol=TOLERANCE)
    assert abs(results[-1]) > 0.3  # a result close to zero would tell little


@pytest.mark.parametrize("case", cases.SCHEDULES)
def test_learning_rate_at_each_step(case):
    class_name, arguments = cases.SCHEDULES[case]
    schedule = getattr(addons, class_name)(**cases.RATES, **arguments)
    rates = [float(schedule(step)) for step in cases.SCHEDULE_STEPS]
    np.testing.assert_allclose(rates, reference("schedules")[case], rtol=1e-6)


@pytest.mark.parametrize("case", cases.OPTIMIZERS)
def test_weights_and_slots_after_each_step(case):
    class_name, arguments, inner = cases.OPTIMIZERS[case]
    values = reference("optimizers")
    made = [make_optimizer(*inner)] if inner else []
    tolerance = RADAM_TOLERANCE if "RectifiedAdam" in (class_name, *(inner or ())) else TOLERANCE
    optimizer = getattr(addons, class_name)(*made, **arguments)
    variables = [keras.Variable(values[f"start/{index}"], name=f"v{index}") for index in range(2)]
    gradients = [values[f"gradient/{index}"] for index in range(2)]
    for step in range(cases.OPTIMIZER_STEPS):
        optimizer.apply([gradient[step] for gradient in gradients], variables)
        for index, variable in enumerate(variables):
            message = f"step {step}, variable {index}"
            expected = values[f"{case}/weights/{index}"][step]
            np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, atol=tolerance, err_msg=message)
            if class_name in cases.SLOTS:
                slot = next(v for v in optimizer.variables if v.name.endswith(f"v{index}_{cases.SLOTS[class_name]}"))
                expected = values[f"{case}/slots/{index}"][step]
                np.testing.assert_allclose(slot.numpy(), expected, rtol=1e-5, atol=tolerance, err_msg=message)
    if class_name == "SWA":
        optimizer.assign_average_vars(variables)
        for index, variable in enumerate(variables):
            np.testing.assert_allclose(variable.numpy(), values[f"{case}/averages/{index}"], rtol=1e-5, atol=tolerance)


@pytest.mark.parametrize("case", cases.SPARSE)
def test_weights_after_each_step_along_gradients_of_some_rows(case):
    class_name, arguments, inner = cases.OPTIMIZERS[case]
    values = reference("sparse")
    optimizer = getattr(addons, class_name)(*([make_optimizer(*inner)] if inner else []), **arguments)
    variable = tf.Variable(values["start"])
    for step in range(cases.OPTIMIZER_STEPS):
        rows = cases.SPARSE_ROWS[step % len(cases.SPARSE_ROWS)]
        slices = tf.IndexedSlices(tf.constant(values[f"gradient/{step}"]), tf.constant(rows))
        optimizer.apply_gradients([(slices, variable)])
        expected = values[case][step]
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, atol=RADAM_TOLERANCE, err_msg=f"step {step}")


def make_optimizer(class_name: str, arguments: dict) -> keras.optimizers.Optimizer:
    home = keras.optimizers if hasattr(keras.optimizers, class_name) else addons
    return getattr(home, class_name)(**arguments)


@pytest.mark.parametrize("probability", cases.SURVIVAL_PROBABILITIES)
def test_stochastic_depth_in_inference(probability):
    values = reference("depth")
    found = addons.StochasticDepth(probability)([values["shortcut"], values["residual"]], training=False)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), values[str(probability)], atol=TOLERANCE)


@pytest.mark.parametrize("file", cases.CHECKPOINTS, ids=cases.CHECKPOINTS.values())
def test_a_network_of_the_old_world_gives_the_same_logits(file):
    values = reference("logits")
    model = resnet_tf.ResNet50(classes=5, input_shape=(64, 64, 3), weights=str(Path(REFERENCES) / file))
    assert relative_error(model.predict(values["images"], verbose=0), values["logits"]) < 1e-4
