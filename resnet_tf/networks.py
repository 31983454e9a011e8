"""Builds every network by its name, with `build` or with the function of that name."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Concatenate, Literal, ParamSpec

import keras

from resnet_tf.architectures import (
    CHANNELS,
    DEFAULT,
    PAPERS,
    Architecture,
    Options,
    Shortcut,
    StemPool,
    StridePlace,
    check_classes,
    check_image_shape,
    choose_options,
    find_architecture,
)
from resnet_tf.cifar import cifar_stages
from resnet_tf.data_format import check_data_format
from resnet_tf.errors import UserError
from resnet_tf.heads import POOLINGS, classifier_head
from resnet_tf.recursion import deep_recursion
from resnet_tf.resnet import resnet_stages
from resnet_tf.resnetv2 import resnetv2_stages
from resnet_tf.vgg import vgg_stages
from resnet_tf.weights import Structure, WeightFile, find_weights, load_weights

P = ParamSpec("P")
_STAGES = {"resnet": resnet_stages, "resnetv2": resnetv2_stages, "cifar": cifar_stages, "vgg": vgg_stages}


def stages_of(x: Any, row: Architecture, options: Options) -> dict[str, Any]:
    """Builds the backbone of a network.

    Args:
        x: Normalized images [batch, height, width, 3].
        row: Architecture of the network.
        options: What its blocks share.

    Returns:
        The output of each stage by name, first to last.
    """
    return _STAGES[row.family](x, row, options)


def build(
    name: str,
    *,
    classes: int = 1000,
    weights: str | WeightFile | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    include_top: bool = True,
    pooling: str | None = None,
    shortcut: Shortcut | Literal["default"] = DEFAULT,
    stride_at: StridePlace | None = None,
    stem_pool: StemPool | None = None,
    use_bias: bool | None = None,
    width: float = 1.0,
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
    zero_init: bool = False,
    classifier_activation: str | None = None,
) -> keras.Model:
    """Builds a network by its name.

        model = resnet_tf.build("resnet34", classes=30, shortcut="A")

    Args:
        name: Name of the network in `resnet_tf.architectures.ARCHITECTURES`.
        classes: Number of outputs.
        weights: None for random weights, "imagenet" or another source (see `resnet_tf.weights.find_weights`),
            or what was read from a file. A head of another size than the file's stays random.
        input_tensor: Keras tensor [batch, height, width, channels] to build upon, an input or the output of another
            model, as in keras.applications. The network then begins at the inputs of that tensor.
        input_shape: Height and width in pixels, None where a size is free, and channels. By default both sizes are
            free and there are 3 channels; only a VGG with its head, whose hidden layers want a fixed size, has
            (224, 224, 3). Weights for another number of channels are fitted, see `resnet_tf.weights.fitting`.
        include_top: Whether to add pooling and the classifier.
        pooling: Pooling of a network without its top: None for feature maps, "avg" or "max" for vectors.
        shortcut: Option "A", "B" or "C" of the paper, or None for the plain net. The default is that of the weights
            where they say it, and the papers' otherwise: A in the CIFAR nets, B in the others.
        stride_at: Place of a bottleneck's stride: "1x1" (the paper, Caffe, Keras) or "3x3" (torchvision). None takes
            that of the weights, or the architecture's where they do not say it.
        stem_pool: Padding of the stem's pooling: "centred" or "caffe". None takes that of the weights, or "centred".
        use_bias: Whether convolutions before a batch norm have a bias. None takes keras.applications' choice.
        width: Factor of the channels of every layer but the classifier.
        dropout: Share of the features that training drops before the classifier, in 0 … 1.
        stochastic_depth: Probability that a training step skips the last block's branch, see
            `resnet_tf.architectures.Options`.
        zero_init: Whether blocks start as identities, see `resnet_tf.architectures.Options`.
        classifier_activation: None for logits, "softmax" for probabilities.

    Returns:
        A flat functional `keras.Model` from normalized images [batch, height, width, channels] to logits
        [batch, classes], or to features where `include_top` is False.

    Raises:
        UserError: An argument is out of its range, or the weights cannot be loaded.
    """
    check_data_format()
    row = find_architecture(name)
    classes = check_classes(classes)
    _check_arguments(pooling, width, dropout)
    file = _read(weights, name, include_top)
    known = structure_for(row, file)
    options = choose_options(
        row,
        shortcut=known.shortcut if shortcut == DEFAULT else shortcut,
        stride_at=stride_at or known.stride_at,
        stem_pool=stem_pool or known.stem_pool,
        use_bias=use_bias,
        zero_init=zero_init,
        stochastic_depth=stochastic_depth,
    )
    row = row.widened(width)

    inputs, x = _inputs(row, input_tensor, input_shape, include_top)
    stages = stages_of(x, row, options)
    x = list(stages.values())[-1]
    if include_top:
        x = classifier_head(stages, row, classes, activation=classifier_activation, dropout=dropout)
    elif pooling is not None:
        x = POOLINGS[pooling](name=f"{pooling}_pool")(x)
    with deep_recursion():
        model = keras.Model(inputs, x, name=name)

    if file is not None:
        load_weights(model, file)
    return model


def structure_for(
    row: Architecture,
    file: WeightFile | None,
    shortcut: Shortcut | Literal["default"] = DEFAULT,
    stride_at: StridePlace | None = None,
) -> Structure:
    """Returns the structure of a network: the caller's choices, and what a file says where the caller leaves one open.

    Args:
        row: Architecture of the network, which leaves out what it has no place for.
        file: Weights that the network is for, or None.
        shortcut: Choice of the caller, or "default".
        stride_at: Choice of the caller, or None.
    """
    known = file.structure if file else Structure()
    return replace(
        known,
        stride_at=stride_at or (known.stride_at if row.has_bottlenecks else None),
        stem_pool=known.stem_pool if row.pools_in_stem else None,
        shortcut=shortcut if shortcut != DEFAULT or row.family == "vgg" else known.shortcut,
    )


def _check_arguments(pooling: str | None, width: float, dropout: float) -> None:
    if pooling not in (None, *POOLINGS):
        raise UserError(f"pooling must be None, 'avg' or 'max', received {pooling!r}")
    if not 0.0 < width < float("inf"):
        raise UserError(f"width must be a positive number, received {width}")
    if not 0.0 <= dropout < 1.0:
        raise UserError(f"dropout must be at least 0 and below 1, received {dropout}")


def _inputs(
    row: Architecture, tensor: Any, shape: tuple[int | None, int | None, int] | None, include_top: bool
) -> tuple[Any, Any]:
    """Returns what the model begins at, and the images [batch, height, width, channels] that the network sees."""
    if tensor is None:
        inputs = keras.Input(_check_shape(row, shape, include_top))
        return inputs, inputs
    if not keras.utils.is_keras_tensor(tensor):
        raise UserError(f"input_tensor must be a Keras tensor, such as keras.Input((224, 224, 3)), received {tensor!r}")
    found = _check_shape(row, tuple(tensor.shape[1:]), include_top)
    wanted = found if shape is None else _check_shape(row, shape, include_top)
    if any(None not in sizes and sizes[0] != sizes[1] for sizes in zip(found, wanted, strict=True)):
        raise UserError(f"input_tensor has the shape {found}, and input_shape is {wanted}")
    inputs = keras.utils.get_source_inputs(tensor)
    return inputs[0] if len(inputs) == 1 else inputs, tensor


def _check_shape(row: Architecture, shape: tuple[int | None, ...] | None, include_top: bool) -> tuple[int | None, ...]:
    if not include_top:
        row = replace(row, hidden=())
    if shape is None:
        size = row.image_size if row.hidden else None
        return (size, size, CHANNELS)
    check_image_shape(row, shape)
    return tuple(shape)


def _read(weights: str | WeightFile | None, name: str, include_top: bool) -> WeightFile | None:
    if weights is None or isinstance(weights, WeightFile):
        return weights
    return find_weights(weights, name, include_top=include_top)


def _named(function: str, name: str, like: Callable[Concatenate[str, P], keras.Model]) -> Callable[P, keras.Model]:
    """Returns `build` for one network, with a signature and a docstring of its own.

    Args:
        function: Name of what is returned.
        name: Name of the network.
        like: `build`, whose signature and docstring are taken, less the name of the network.
    """

    def network(*args: P.args, **kwargs: P.kwargs) -> keras.Model:
        arguments: Any = kwargs  # a type checker compares them with P where the function is called
        return build(name, *args, **arguments)

    signature = inspect.signature(like)
    network.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[parameter for parameter in signature.parameters.values() if parameter.name != "name"]
    )
    network.__name__ = network.__qualname__ = function
    network.__doc__ = _documentation(function, find_architecture(name), inspect.getdoc(like) or "")
    return network


def _documentation(function: str, row: Architecture, of_build: str) -> str:
    """Returns a docstring with the arguments of `build`, without the first, which is the name."""
    arguments = of_build.partition("Args:\n")[2].partition("\n")[2]
    return (
        f"Builds {function}, {row.depth} layers with weights ({PAPERS[row.family]}).\n\n"
        f"    model = resnet_tf.{function}(classes=30)\n\n"
        f"Args:\n{arguments}"
    )


ResNet10Slim = _named("ResNet10Slim", "resnet10_slim", build)
ResNet18 = _named("ResNet18", "resnet18", build)
ResNet34 = _named("ResNet34", "resnet34", build)
ResNet50 = _named("ResNet50", "resnet50", build)
ResNet101 = _named("ResNet101", "resnet101", build)
ResNet152 = _named("ResNet152", "resnet152", build)
ResNet50V2 = _named("ResNet50V2", "resnet50v2", build)
ResNet101V2 = _named("ResNet101V2", "resnet101v2", build)
ResNet152V2 = _named("ResNet152V2", "resnet152v2", build)
CifarResNet20 = _named("CifarResNet20", "cifar_resnet20", build)
CifarResNet32 = _named("CifarResNet32", "cifar_resnet32", build)
CifarResNet44 = _named("CifarResNet44", "cifar_resnet44", build)
CifarResNet56 = _named("CifarResNet56", "cifar_resnet56", build)
CifarResNet110 = _named("CifarResNet110", "cifar_resnet110", build)
CifarResNet1202 = _named("CifarResNet1202", "cifar_resnet1202", build)
VGG16 = _named("VGG16", "vgg16", build)
VGG19 = _named("VGG19", "vgg19", build)
VGG16BN = _named("VGG16BN", "vgg16_bn", build)
VGG19BN = _named("VGG19BN", "vgg19_bn", build)
