"""Puts tensors into a model, and reports exactly what matched, what did not, and why."""

from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from resnet_tf.errors import UserError
from resnet_tf.weights.belonging import check_belongs, random_layers
from resnet_tf.weights.fitting import fit_to
from resnet_tf.weights.names import BACKBONE_BLOCK, HEAD, shown, variables_of
from resnet_tf.weights.readers import read_weights
from resnet_tf.weights.structure import LayerConfigs, differences, structure_of
from resnet_tf.weights.unnamed_layers import has_unnamed_layers, layer_names_by_number, with_layer_names
from resnet_tf.weights.weight_file import WeightFile

# Weights and statistics of published networks are far below. Products of larger ones leave float32 within a few layers.
LARGEST_WEIGHT, LARGEST_VARIANCE = 1e9, 1e18


@dataclass
class LoadReport:
    """The report of what became of every tensor. Names are "layer/variable".

    Args:
        path: Path of the file.
        matched: Names of the model's tensors that the file filled.
        missing: Names of the model's tensors that the file does not have; they keep their initial values.
        left_over: Names of the file's tensors that the model does not have.
        wrong_shape: Pairs (shape in the model, shape in the file) by name; these tensors keep their initial values.
        fitted: Names of the tensors that were fitted to another shape, of which the notes say how.
        notes: Sentences about what was changed so that both networks compute the same, and about where they do not.
        convolutions: Numbers of the model's convolutions, (filled, all).
    """

    path: Path
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    wrong_shape: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    fitted: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    convolutions: tuple[int, int] = (0, 0)

    @property
    def head_loaded(self) -> bool:
        """Whether the classifier's weights also came from the file."""
        return f"{HEAD}/kernel" in self.matched

    @property
    def random_layers(self) -> list[str]:
        """The backbone's layers that the file did not fill; they have to learn, whatever else is frozen."""
        return random_layers(self.missing)

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
    variables = variables_of(model)
    tensors = file.tensors
    if has_unnamed_layers(tensors):
        tensors = with_layer_names(tensors, layer_names_by_number(_classes_and_names(model)))
    tensors, notes, fitted = fit_to(model, tensors)

    report = LoadReport(file.path, notes=notes, fitted=fitted)
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
    _leave_out_behind_hidden_layers(report, values)
    if f"{HEAD}/bias" in report.wrong_shape:
        report.notes.append("the head has another number of classes and stays at its initial values")
    elif f"{HEAD}/kernel" in report.wrong_shape:
        report.notes.append("the head sees other features and stays at its initial values")
    report.convolutions = check_belongs(file.path, model, tensors, report.missing, report.left_over, report.wrong_shape)
    if report.random_layers:
        report.notes.append(
            f"not in the file, so random and never frozen: {_shortened(report.random_layers)}, in the last stage"
        )
    _check_numbers(values, file.path)
    if file.untold and any(BACKBONE_BLOCK.match(name) for name in report.matched):
        report.notes.append(
            f"nothing in the file or beside it names its architecture: taken for a plain {model.name}, with ReLU and "
            "without filters against aliasing, which tensors do not show"
        )
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
    if report.fitted:
        raise UserError(
            f"{source!r} is for other images than the network, and its {report.fitted[0]} would have to be changed; "
            "fine-tune from it instead"
        )
    if report.missing:
        raise UserError(f"{source!r} lacks {len(report.missing)} tensors of the network, such as {report.missing[0]}")
    if report.wrong_shape:
        name, (here, there) = next(iter(report.wrong_shape.items()))
        raise UserError(f"{source!r} has {name} in the shape {there}, and the network wants {here}")
    if report.left_over:
        example = shown(report.left_over[0])
        raise UserError(f"{source!r} has {len(report.left_over)} tensors that the network has not, such as {example}")


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


def _leave_out_behind_hidden_layers(report: LoadReport, values: dict[str, np.ndarray]) -> None:
    """Leaves out the rest of a VGG's head where one of its hidden layers cannot be filled."""
    unfilled = [name for name in ("fc1/kernel", "fc2/kernel") if name in report.wrong_shape]
    if not unfilled:
        return
    here, there = report.wrong_shape[unfilled[0]]
    report.notes.append(
        f"{unfilled[0]} is {there} in the file and {here} here: the whole head, from fc1 to {HEAD}, stays at its "
        "initial values"
    )
    behind = [name for name in values if name.startswith(("fc1/", "fc2/", f"{HEAD}/"))]
    for name in behind:
        del values[name]
        report.matched.remove(name)
    report.missing += behind


def _check_numbers(values: dict[str, np.ndarray], path: Path) -> None:
    for name, value in values.items():
        if value.dtype != np.float32:
            raise UserError(
                f"the weights {str(path)!r} have {name} as {value.dtype}, which is no floating-point number"
            )
        if not np.isfinite(value).all():
            raise UserError(f"the weights {str(path)!r} have numbers in {name} that are infinite or none (NaN)")
        largest = float(np.abs(value).max(initial=0.0))
        is_variance = name.endswith("/moving_variance")
        if largest > (LARGEST_VARIANCE if is_variance else LARGEST_WEIGHT):
            raise UserError(
                f"the weights {str(path)!r} have numbers in {name} up to {largest:.3g}, too large to compute with"
            )
        if is_variance and float(value.min(initial=0.0)) < 0.0:
            raise UserError(f"the weights {str(path)!r} have the negative variance {value.min():.3g} in {name}")


def _shortened(names: list[str], most: int = 8) -> str:
    rest = len(names) - most
    return ", ".join(map(shown, names[:most])) + (f" and {rest} more" if rest > 0 else "")
