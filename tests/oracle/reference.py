"""Runs in the tensorflow-addons environment: writes its results and a network trained there to a folder.

    .venv-tfa/bin/python tests/oracle/reference.py FOLDER

The inputs are written beside the results, so the tests do not depend on the random numbers of this NumPy version.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import cases  # a script's folder is the first on its path
import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa

tf.get_logger().setLevel("ERROR")  # TensorFlow warns that each metric is a graph of its own
random = np.random.default_rng(20240501)


def main(folder: Path) -> None:
    """Writes metrics.npz, schedules.npz, optimizers.npz, depth.npz, sparse.npz, logits.npz and the checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, compute in (
        ("metrics", metrics),
        ("schedules", schedules),
        ("optimizers", optimizers),
        ("depth", stochastic_depth),
        ("sparse", sparse_gradients),
    ):
        np.savez(folder / f"{name}.npz", **compute())
    np.savez(folder / "logits.npz", **trained_network(folder))


def metrics() -> dict[str, np.ndarray]:
    """Returns both metrics after each of several batches, with and without sample weights."""
    found = {}
    for weights in ("plain", "weighted"):
        for name, (classes, arguments, kind) in cases.KAPPA.items():
            metric = tfa.metrics.CohenKappa(num_classes=classes, **arguments)
            onehot = classes > 2 and not arguments["sparse_labels"]
            found |= stream(f"kappa/{name}/{weights}", metric, classes, kind, onehot, weights == "weighted")
        for classes in cases.MCC_CLASSES:
            metric = tfa.metrics.MatthewsCorrelationCoefficient(num_classes=classes)
            found |= stream(f"mcc/{classes}/{weights}", metric, classes, "scores", True, weights == "weighted")
    return found


def stream(key: str, metric, classes: int, kind: str, onehot: bool, weighted: bool) -> dict[str, np.ndarray]:
    """Returns labels, predictions, weights and the result after each batch."""
    found = {}
    for batch, size in enumerate(cases.BATCHES):
        true = random.integers(0, classes, size)
        # Two guesses out of three are right, so that no metric is close to zero.
        guess = np.where(random.uniform(size=size) < 0.67, true, random.integers(0, classes, size))
        predictions = {
            "probability": lambda guess=guess: np.clip(guess + random.normal(0, 0.2, len(guess)), 0, 1),
            "scores": lambda guess=guess: np.eye(classes)[guess] + random.uniform(0, 0.4, (len(guess), classes)),
            "numbers": lambda guess=guess: guess,
            "regression": lambda guess=guess: (guess + random.uniform(-0.4, 0.4, len(guess)))[:, None],
        }[kind]().astype("float32")
        weights = random.uniform(0.1, 3.0, size).astype("float32") if weighted else None
        labels = np.eye(classes, dtype="float32")[true] if onehot else true
        metric.update_state(labels, predictions, sample_weight=weights)
        found |= {f"{key}/{batch}/true": labels, f"{key}/{batch}/predicted": predictions}
        found[f"{key}/{batch}/result"] = np.asarray(metric.result())
        if weighted:
            found[f"{key}/{batch}/weights"] = weights
    return found


def schedules() -> dict[str, np.ndarray]:
    """Returns the rate at each of many steps."""
    found = {}
    for name, (class_name, arguments) in cases.SCHEDULES.items():
        schedule = getattr(tfa.optimizers, class_name)(**cases.RATES, **arguments)
        rates = [float(schedule(tf.constant(step, tf.float32))) for step in cases.SCHEDULE_STEPS]
        found[name] = np.array(rates, "float32")
    return found


def optimizers() -> dict[str, np.ndarray]:
    """Returns two weights and their slots after each step along given gradients."""
    starts = [random.normal(size=shape).astype("float32") for shape in ((3, 4), (4,))]
    gradients = [
        [random.normal(0.3, 1, start.shape).astype("float32") for start in starts] for _ in range(cases.OPTIMIZER_STEPS)
    ]
    found = {f"start/{index}": start for index, start in enumerate(starts)}
    found |= {f"gradient/{index}": np.stack([step[index] for step in gradients]) for index, _ in enumerate(starts)}
    for name, (class_name, arguments, inner) in cases.OPTIMIZERS.items():
        made = [make_optimizer(*inner)] if inner else []
        optimizer = getattr(tfa.optimizers, class_name)(*made, **arguments)
        variables = [tf.Variable(start) for start in starts]
        path, slots = [], []
        for step in gradients:
            optimizer.apply_gradients(zip(step, variables, strict=True))
            path.append([variable.numpy() for variable in variables])
            if class_name in cases.SLOTS:
                slots.append([optimizer.get_slot(v, cases.SLOTS[class_name]).numpy() for v in variables])
        for index, _ in enumerate(starts):
            found[f"{name}/weights/{index}"] = np.stack([step[index] for step in path])
            if slots:
                found[f"{name}/slots/{index}"] = np.stack([step[index] for step in slots])
        if class_name == "SWA":
            optimizer.assign_average_vars(variables)
            found |= {f"{name}/averages/{index}": variable.numpy() for index, variable in enumerate(variables)}
    return found


def sparse_gradients() -> dict[str, np.ndarray]:
    """Returns a matrix after each step along given gradients of some of its rows."""
    own = np.random.default_rng(5)
    rows = [cases.SPARSE_ROWS[step % len(cases.SPARSE_ROWS)] for step in range(cases.OPTIMIZER_STEPS)]
    start = own.normal(size=cases.SPARSE_SHAPE).astype("float32")
    gradients = [own.normal(0.3, 1, (len(of), cases.SPARSE_SHAPE[1])).astype("float32") for of in rows]
    found = {"start": start} | {f"gradient/{step}": gradient for step, gradient in enumerate(gradients)}
    for name in cases.SPARSE:
        class_name, arguments, inner = cases.OPTIMIZERS[name]
        optimizer = getattr(tfa.optimizers, class_name)(*([make_optimizer(*inner)] if inner else []), **arguments)
        variable, path = tf.Variable(start), []
        for of, gradient in zip(rows, gradients, strict=True):
            slices = tf.IndexedSlices(tf.constant(gradient), tf.constant(of), tf.constant(cases.SPARSE_SHAPE))
            optimizer.apply_gradients([(slices, variable)])
            path.append(variable.numpy())
        found[name] = np.stack(path)
    return found


def make_optimizer(class_name: str, arguments: dict):
    home = tf.keras.optimizers.legacy if hasattr(tf.keras.optimizers.legacy, class_name) else tfa.optimizers
    return getattr(home, class_name)(**arguments)


def stochastic_depth() -> dict[str, np.ndarray]:
    """Returns the results of stochastic depth in inference."""
    shortcut, residual = (random.normal(size=(2, 3, 3, 4)).astype("float32") for _ in range(2))
    found = {"shortcut": shortcut, "residual": residual}
    for probability in cases.SURVIVAL_PROBABILITIES:
        layer = tfa.layers.StochasticDepth(probability)
        found[str(probability)] = np.asarray(layer([shortcut, residual], training=False))
    return found


def trained_network(folder: Path) -> dict[str, np.ndarray]:
    """Saves a ResNet-50 after two steps with Ranger in each of the six ways; returns its logits for a batch."""
    tf.keras.utils.set_random_seed(0)
    model = tf.keras.applications.ResNet50(weights=None, classes=5, input_shape=(64, 64, 3), classifier_activation=None)
    model.compile(
        tfa.optimizers.Lookahead(tfa.optimizers.RectifiedAdam()),
        tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[tfa.metrics.CohenKappa(num_classes=5, sparse_labels=True)],
    )
    images = random.normal(0, 40, (8, 64, 64, 3)).astype("float32")
    model.fit(images, random.integers(0, 5, 8), batch_size=4, epochs=1, verbose=0)
    model.save(folder / "whole.h5")
    model.save_weights(folder / "weights.h5")
    model.save(folder / "whole.keras")
    model.save_weights(folder / "new.weights.h5")
    model.save(folder / "saved_model", save_format="tf")
    model.save_weights(folder / "checkpoint" / "weights")
    return {"images": images, "logits": model.predict(images, verbose=0)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
