"""convert: writes the weights of one file to another, without losing a bit of float32."""

from pathlib import Path

import keras

from pipelines.config.verbs import ConvertConfig
from pipelines.console.terminal import say
from pipelines.runs.files import check_place, write_atomically
from resnet_tf.architectures import CHANNELS, find_architecture
from resnet_tf.errors import UserError
from resnet_tf.networks import build, structure_for
from resnet_tf.weights import WeightFile, find_weights, load_weights, write_weights
from resnet_tf.weights.loading import check_complete
from resnet_tf.weights.names import FIRST_KERNELS, HEAD, batch_norm_of
from resnet_tf.weights.unnamed_layers import check_layer_names
from resnet_tf.weights.writers import check_kind


def convert(config: ConvertConfig) -> Path:
    """Reads weights from any source, checks them against their network, and writes them to a file.

    Args:
        config: Source, target and network.

    Returns:
        The path of the file that was written. The file also contains the preprocessing and the network's structure.

    Raises:
        UserError: The source cannot be read or does not fill the network, or the target exists or is of an unknown
            kind.
    """
    target = Path(config.target)
    check_kind(target)
    if target.exists():
        raise UserError(f"{config.target!r} exists; choose another target, or remove it")
    check_place(target)
    file = find_weights(config.source, config.arch)
    check_layer_names(file.tensors, config.source)
    _check_head(file, config.source)
    model = network_of(file, config)
    report = load_weights(model, file, verbose=False)
    check_complete(report, config.source)
    torchvision = config.names == "torchvision"
    write_atomically(
        target,
        lambda path: write_weights(
            model,
            path,
            file.preprocessing,
            torchvision=torchvision,
            image_size=file.image_size,
            classes=file.classes,
        ),
    )
    say(f"{report}\nwrote {target}, {target.stat().st_size:,} bytes")
    return target


def network_of(file: WeightFile, config: ConvertConfig) -> keras.Model:
    """Returns the network that the tensors of a file come from, with the head and the biases that the file has."""
    head = file.tensors.get(f"{HEAD}/kernel")
    row = find_architecture(config.arch)
    structure = structure_for(row, file, config.shortcut, config.stride_at)
    channels = next((file.tensors[name].shape[2] for name in FIRST_KERNELS if _is_kernel(file, name)), CHANNELS)
    size = row.image_size if row.hidden else None
    return build(
        config.arch,
        input_shape=None if channels == CHANNELS else (size, size, channels),
        classes=1000 if head is None else int(head.shape[-1]),
        include_top=head is not None,
        shortcut=structure.shortcut,
        stride_at=structure.stride_at,
        stem_pool=structure.stem_pool,
        use_bias=_has_biases_before_batch_norms(file),
        stochastic_depth=structure.stochastic_depth or 0.0,
    )


def _is_kernel(file: WeightFile, name: str) -> bool:
    return name in file.tensors and file.tensors[name].ndim == 4 and file.tensors[name].shape[2] > 0


def _check_head(file: WeightFile, source: str) -> None:
    stages = file.structure.head_stages
    if (stages is not None and stages > 1) or file.structure.head_pooling != "avg":
        raise UserError(
            f"the classifier of {source!r} sees the last {stages or 1} stages "
            f"({file.structure.head_pooling}), which other formats' networks do not; "
            "import it or fine-tune from it as it is"
        )


def _has_biases_before_batch_norms(file: WeightFile) -> bool:
    layers = {name.partition("/")[0] for name in file.tensors}
    return any(
        f"{layer}/bias" in file.tensors and batch_norm_of(layer) in layers for layer in layers if "conv" in layer
    )
