"""Puts tensors into a model, and reports exactly what matched, what did not, and why."""

from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from resnet_tf.errors import UserError
from resnet_tf.weights.names import BACKBONE_KERNEL, BACKBONE_LAYER, HEAD, batch_norm_of, stage_of, unit_of
from resnet_tf.weights.readers import read_weights
from resnet_tf.weights.structure import LayerConfigs, differences, structure_of
from resnet_tf.weights.unnamed_layers import has_unnamed_layers, layer_names_by_number, with_layer_names
from resnet_tf.weights.weight_file import WeightFile

# A partial file is useful, such as one without the last convolutions. A file that lacks more than a quarter of the
# convolutions, or whole blocks at the end of a stage, is of a different network.
MINIMUM_MATCHED = 0.75


@dataclass
class LoadReport:
    """The report of what became of every tensor. Names are "layer/variable".

    Args:
        path: Path of the file.
        matched: Names of the model's tensors that the file filled.
        missing: Names of the model's tensors that the file does not have; they keep their initial values.
        left_over: Names of the file's tensors that the model does not have.
        wrong_shape: Pairs (shape in the model, shape in the file) by name; these tensors keep their initial values.
        notes: Sentences about what was changed so that both networks compute the same, and about where they do not.
        convolutions: Numbers of the model's convolutions, (filled, all).
    """

    path: Path
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    wrong_shape: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    convolutions: tuple[int, int] = (0, 0)

    @property
    def head_loaded(self) -> bool:
        """Whether the classifier's weights also came from the file."""
        return f"{HEAD}/kernel" in self.matched

    def __str__(self) -> str:
        filled, total = self.convolutions
        lines = [
            f"weights {self.path.name}: {filled} of {total} convolutions, {len(self.matched)} tensors matched, "
            f"{len(self.missing)} missing, {len(self.left_over)} left over, {len(self.wrong_shape)} of another shape"
        ]
        lines += [f"  missing: {_shortened(self.missing)}"] if self.missing else []
        lines += [f"  left over: {_shortened(self.left_over)}"] if self.left_over else []
        lines += [
            f"  another shape: {name} is {here}, in the file {there}"
            for name, (here, there) in list(self.wrong_shape.items())[:8]
        ]
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)


def load_weights(model: keras.Model, source: str | Path | WeightFile, *, verbose: bool = True) -> LoadReport:
    """Fills a model from a file, by layer name.

    Biases of convolutions and batch norms that were folded away are adapted, so that the model computes what the file's
    network computed. A head of a different size stays unchanged, and the report says so.

    Args:
        model: Network from `resnet_tf.build` or `resnet_tf.build_classifier`.
        source: Path of a file (see `resnet_tf.weights.read_weights`), or a weight file that was already read.
        verbose: Whether to print the report.

    Returns:
        The report of what matched, what did not, and why.

    Raises:
        UserError: The file cannot be read, or too little of it fits; the model is unchanged then.
    """
    file = source if isinstance(source, WeightFile) else read_weights(source)
    variables = {f"{layer.name}/{variable.name}": variable for layer in model.layers for variable in layer.weights}
    tensors = file.tensors
    if has_unnamed_layers(tensors):
        tensors = with_layer_names(tensors, layer_names_by_number(_classes_and_names(model)))
    tensors, notes = _adapt(tensors, model)

    report = LoadReport(file.path, notes=notes)
    values: dict[str, np.ndarray] = {}
    for name, variable in variables.items():
        if name not in tensors:
            report.missing.append(name)
        elif tensors[name].shape != tuple(variable.shape):
            report.wrong_shape[name] = (tuple(variable.shape), tensors[name].shape)
        else:
            values[name] = tensors[name]
            report.matched.append(name)
    report.left_over = [name for name in tensors if name not in variables]
    if f"{HEAD}/bias" in report.wrong_shape:
        report.notes.append("the head has another number of classes and stays at its initial values")
    elif f"{HEAD}/kernel" in report.wrong_shape:
        report.notes.append("the head sees other features and stays at its initial values")
    _check_fit(report, variables, tensors, model.name)
    _check_numbers(values, file.path)
    report.notes += differences(file.structure, structure_of(configs_of(model)))

    for name, value in values.items():
        variables[name].assign(value)
    if verbose:
        print(report)
    return report


def check_complete(report: LoadReport, source: str) -> None:
    """Checks that a file had exactly the tensors of the network.

    Args:
        report: Report of loading the file.
        source: Name of the file for the error.

    Raises:
        UserError: A tensor of the network is not in the file or has a different shape there, or the file has a tensor
            that the network does not have.
    """
    if report.missing:
        raise UserError(f"{source!r} lacks {len(report.missing)} tensors of the network, such as {report.missing[0]}")
    if report.wrong_shape:
        name, (here, there) = next(iter(report.wrong_shape.items()))
        raise UserError(f"{source!r} has {name} in the shape {there}, and the network wants {here}")
    if report.left_over:
        raise UserError(
            f"{source!r} has {len(report.left_over)} tensors that the network has not, such as {report.left_over[0]}"
        )


def configs_of(model: keras.Model) -> LayerConfigs:
    """Returns the class name of each layer and the part of its config that `structure_of` needs.

    Keras's own `get_config` is slow and imports TensorFlow.
    """
    asked = ("name", "strides", "padding", "survival_probability", "scale")
    return [
        (type(layer).__name__, {name: getattr(layer, name) for name in asked if hasattr(layer, name)})
        for layer in model.layers
    ]


def _classes_and_names(model: keras.Model) -> list[tuple[str, str]]:
    """Returns class and name of each layer as in Keras's own networks, which do not have our faster batch norm."""
    kinds = {"FusedBatchNormalization": "BatchNormalization"}
    return [(kinds.get(type(layer).__name__, type(layer).__name__), layer.name) for layer in model.layers]


def _check_fit(
    report: LoadReport, variables: dict[str, keras.Variable], tensors: dict[str, np.ndarray], model_name: str
) -> None:
    kernels = [name for name in variables if BACKBONE_KERNEL.fullmatch(name)]
    matched = set(report.matched)
    filled = sum(name in matched for name in kernels)
    report.convolutions = (filled, len(kernels))
    if filled < MINIMUM_MATCHED * len(kernels):
        raise UserError(
            f"the weights {str(report.path)!r} fill only {filled} of the {len(kernels)} convolutions of {model_name}; "
            "are they for another architecture?"
        )
    layers = {name.partition("/")[0] for name in variables}
    foreign = [
        name for name in report.left_over if BACKBONE_LAYER.fullmatch(name) and name.partition("/")[0] not in layers
    ]
    if foreign:
        raise UserError(
            f"the weights {str(report.path)!r} have {len(foreign)} tensors that {model_name} has not "
            f"(such as {foreign[0]}); they are for another architecture"
        )
    lacking = _shorter_stage(variables, tensors)
    if lacking:
        raise UserError(
            f"the weights {str(report.path)!r} are for a shallower network than {model_name}: they end before {lacking}"
        )


def _shorter_stage(variables: dict[str, keras.Variable], tensors: dict[str, np.ndarray]) -> str | None:
    """Returns the first block that the file lacks although it has the block before it in the same stage, or None."""
    there = {unit for name in tensors if (unit := unit_of(name))}
    previous = None
    for unit in dict.fromkeys(filter(None, map(unit_of, variables))):
        if previous in there and unit not in there and stage_of(unit) == stage_of(previous):
            return unit
        previous = unit
    return None


def _check_numbers(values: dict[str, np.ndarray], path: Path) -> None:
    for name, value in values.items():
        if value.dtype != np.float32:
            raise UserError(
                f"the weights {str(path)!r} have {name} as {value.dtype}, which is no floating-point number"
            )
        if not np.isfinite(value).all():
            raise UserError(f"the weights {str(path)!r} have numbers in {name} that are infinite or none (NaN)")


def _adapt(tensors: dict[str, np.ndarray], model: keras.Model) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the file's tensors in a form that suits the model, and notes about what was changed.

    The model may have convolution biases and batch norms where the file has none, or the reverse. It computes the same
    function as the file's network.
    """
    tensors = dict(tensors)
    moved = folded = zeroed = 0
    layers = {layer.name: layer for layer in model.layers}
    for name, layer in layers.items():
        kernel, bias = f"{name}/kernel", f"{name}/bias"
        batch_norm = batch_norm_of(name)
        if not isinstance(layer, keras.layers.Conv2D) or kernel not in tensors or batch_norm not in layers:
            continue
        if bias in tensors and f"{batch_norm}/moving_mean" not in tensors:
            tensors |= _identity_batch_norm(layers[batch_norm], batch_norm, tensors.pop(bias))
            folded += 1
        elif bias in tensors and not layer.use_bias:
            # batch norm of (x + bias) with mean m is batch norm of x with mean m - bias
            tensors[f"{batch_norm}/moving_mean"] = tensors[f"{batch_norm}/moving_mean"] - tensors.pop(bias)
            moved += 1
        if bias not in tensors and layer.use_bias:
            tensors[bias] = np.zeros(layer.filters, np.float32)
            zeroed += 1
    notes = []
    if folded:
        notes.append(
            f"{folded} batch norms are folded into their convolutions in the file: "
            "they become identities with the bias, to be used with frozen statistics"
        )
    if moved:
        notes.append(f"{moved} convolution biases went into the moving means behind them")
    if zeroed:
        notes.append(f"{zeroed} convolution biases that the file does not have are zero")
    return tensors, notes


def _identity_batch_norm(layer: keras.layers.BatchNormalization, name: str, bias: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the tensors of a batch norm that only adds the bias; its epsilon is taken into account."""
    ones = np.ones_like(bias)
    return {
        f"{name}/gamma": ones * np.sqrt(np.float32(1.0 + layer.epsilon)),
        f"{name}/beta": bias,
        f"{name}/moving_mean": np.zeros_like(bias),
        f"{name}/moving_variance": ones,
    }


def _shortened(names: list[str], most: int = 8) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
