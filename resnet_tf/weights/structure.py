"""The structure of a network: the properties that its tensors do not show, but that change what it computes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from resnet_tf.architectures import DEFAULT, SHORTCUTS, STEM_POOLS, STRIDE_PLACES, Shortcut, StemPool, StridePlace

# In a file with only Keras's own layers, the layer that weighs a branch by its probability has a name with this ending.
SURVIVAL = "_survival"
LayerConfigs = list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Structure:
    """The properties in which two networks with the same tensors may differ.

    An unknown value is None, and an unknown shortcut is "default".

    Args:
        stride_at: Place of a bottleneck's stride.
        stem_pool: Padding of the stem's pooling.
        shortcut: Option of the shortcut; option A and the plain net have the same tensors.
        stochastic_depth: Probability that training skips the last branch; inference weighs all branches by theirs.
        head_stages: Number of the last stages that the classifier sees.
        head_pooling: Pooling of these stages, "avg" or "avg+max".
    """

    stride_at: StridePlace | None = None
    stem_pool: StemPool | None = None
    shortcut: Shortcut | Literal["default"] = DEFAULT
    stochastic_depth: float | None = None
    head_stages: int | None = None
    head_pooling: str = "avg"

    def __post_init__(self) -> None:
        if (
            self.stride_at not in (None, *STRIDE_PLACES)
            or self.stem_pool not in (None, *STEM_POOLS)
            or self.shortcut not in (DEFAULT, *SHORTCUTS)
            or not (self.stochastic_depth is None or 0.0 <= self.stochastic_depth < 1.0)
            or not (self.head_stages is None or 1 <= self.head_stages <= 5)
            or self.head_pooling not in ("avg", "avg+max")
        ):
            raise ValueError(f"its structure is not understood: {self}")


def layer_configs(config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (class name, config) of every layer in a Keras model's config, nested models included."""
    for layer in config.get("config", {}).get("layers", []):
        yield layer["class_name"], layer["config"]
        yield from layer_configs(layer)


def structure_of(layers: LayerConfigs) -> Structure:
    """Returns the structure of a network of this package or of keras.applications, from its layers.

    Args:
        layers: Class name and config of each layer, from `layer_configs`.
    """
    named = {config.get("name", ""): (kind, config) for kind, config in layers}
    return Structure(
        stride_at=_stride_at(named),
        stem_pool=_stem_pool(named),
        shortcut=_shortcut(named),
        stochastic_depth=1.0 - min(_survival_probabilities(layers), default=1.0),
        head_stages=1 + sum(name.endswith("_avg_pool") for name in named) if "predictions" in named else None,
        head_pooling="avg+max" if any(kind == "GlobalMaxPooling2D" for kind, _ in layers) else "avg",
    )


def _survival_probabilities(layers: LayerConfigs) -> Iterator[float]:
    for kind, config in layers:
        if kind == "StochasticDepth":
            yield config["survival_probability"]
        elif kind == "Rescaling" and config["name"].endswith(SURVIVAL):
            yield config["scale"]


def differences(file: Structure, model: Structure) -> list[str]:
    """Returns in words how the file's network and the model differ in what they compute with the same tensors."""
    notes = []
    if None not in (file.stride_at, model.stride_at) and file.stride_at != model.stride_at:
        notes.append(
            f"the file's network has its strides on the {file.stride_at} convolutions, the model on {model.stride_at}"
        )
    if None not in (file.stem_pool, model.stem_pool) and file.stem_pool != model.stem_pool:
        notes.append(
            f"the file's network pads its stem's pooling as {file.stem_pool!r}, the model as {model.stem_pool!r}"
        )
    if DEFAULT not in (file.shortcut, model.shortcut) and file.shortcut != model.shortcut:
        notes.append(f"the file's network has shortcut {file.shortcut!r}, the model {model.shortcut!r}")
    if file.stochastic_depth is not None and file.stochastic_depth != model.stochastic_depth:
        notes.append(
            f"the file's network has stochastic_depth {file.stochastic_depth:g}, the model "
            f"{model.stochastic_depth or 0.0:g}; inference weighs the branches by it"
        )
    return notes


def _stride_at(named: dict[str, tuple[str, dict[str, Any]]]) -> StridePlace | None:
    if not any(name.endswith("_3_conv") for name in named):  # no bottlenecks
        return None
    strided = [name for name, (kind, config) in named.items() if kind == "Conv2D" and max(config["strides"]) > 1]
    if any(name.endswith("_2_conv") for name in strided):
        return "3x3"
    return "1x1" if any(name.endswith("_1_conv") for name in strided) else None


def _stem_pool(named: dict[str, tuple[str, dict[str, Any]]]) -> StemPool | None:
    if "pool1_pad" not in named:
        return None
    padding = [list(side) for side in named["pool1_pad"][1]["padding"]]
    return "caffe" if padding == [[0, 1], [0, 1]] else "centred"


def _shortcut(named: dict[str, tuple[str, dict[str, Any]]]) -> Shortcut | Literal["default"]:
    if not any("_block" in name and name.endswith("_1_conv") for name in named):  # a VGG, or none of ours
        return DEFAULT
    if not any(kind in ("Add", "StochasticDepth") for kind, _ in named.values()):
        return None
    projected = [name for name in named if name.endswith("_0_conv")]
    if not projected:
        return "A"
    return "C" if any("_block2_" in name for name in projected) else "B"
