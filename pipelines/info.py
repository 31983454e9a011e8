"""info: prints the layers and the cost of a network, and the weights that are known for it."""

from pipelines.config.verbs import NetworkConfig
from pipelines.console.terminal import answer
from resnet_tf.architectures import find_architecture
from resnet_tf.networks import build
from resnet_tf.source_kinds import DRAWN, DRAWN_ARCHITECTURE
from resnet_tf.statistics import LayerCost, layer_costs, multiply_adds, parameters
from resnet_tf.weights.catalogue import IMAGENET


def info(config: NetworkConfig) -> None:
    """Prints every layer with its output shape, parameters and multiply-adds, then the sums and the known weights.

    Args:
        config: Settings of the network.
    """
    row = find_architecture(config.arch)
    size = config.image_size or row.image_size
    model = build(
        config.arch,
        classes=config.classes,
        input_shape=(size, size, 3),
        shortcut=config.shortcut,
        stride_at=config.stride_at,
        width=config.width,
    )
    costs = layer_costs(model)
    name_width = max(len(cost.name) for cost in costs)
    kind_width = max(len(cost.kind) for cost in costs)
    lines = [
        f"{'layer':{name_width}}  {'kind':{kind_width}}  {'output':>15}  {'parameters':>11}  {'multiply-adds':>14}"
    ]
    lines += [_line(cost, name_width, kind_width) for cost in costs]
    lines += [
        "",
        f"{config.arch}: {parameters(model):,} parameters and {multiply_adds(model):,} multiply-adds "
        f"for one image of {size} × {size} pixels, {config.classes} classes",
        known_weights(config.arch),
    ]
    answer("\n".join(lines))


def known_weights(architecture: str) -> str:
    """Returns a paragraph about the published weights of an architecture."""
    if architecture == DRAWN_ARCHITECTURE:
        return f"weights {DRAWN}: in this package, trained on drawn pictures alone, licence Apache-2.0"
    if architecture not in IMAGENET:
        return "weights: no published file is known by name; --weights takes files and addresses"
    known = IMAGENET[architecture]
    accuracy = "accuracy not published" if known.top1 is None else f"top-1 {known.top1:.1%} on ImageNet"
    how = f" ({known.evaluated})" if known.evaluated else ""
    look = known.preprocessing
    return (
        f"weights imagenet: {accuracy}{how}, licence {known.licence}\n"
        f"  {known.file.url}\n"
        f"  normalization {look.normalization()}, {look.interpolation}, centre crop of {look.crop_fraction:g}; "
        f"see {known.reference}"
    )


def _line(cost: LayerCost, name_width: int, kind_width: int) -> str:
    shape = " × ".join(str(size) for size in cost.output_shape)
    numbers = [f"{number:,}" if number else "" for number in (cost.parameters, cost.multiply_adds)]
    line = f"{cost.name:{name_width}}  {cost.kind:{kind_width}}  {shape:>15}  {numbers[0]:>11}  {numbers[1]:>14}"
    return line.rstrip()
