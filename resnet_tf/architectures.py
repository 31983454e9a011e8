"""Every network as a row of data, and the options that its blocks share.

This file does not import Keras, so that a command line can read it at once. From a row, `resnet_tf.blocks` makes the
list of blocks and builds them, and `resnet_tf.resnet` and its like put the stem before them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import index
from typing import Any, Literal, SupportsIndex

from resnet_tf.errors import UserError

Family = Literal["resnet", "resnetv2", "cifar", "vgg"]
Shortcut = Literal["A", "B", "C"] | None
StridePlace = Literal["1x1", "3x3"]
StemPool = Literal["centred", "caffe"]
SHORTCUTS: tuple[Shortcut, ...] = ("A", "B", "C", None)
STRIDE_PLACES: tuple[StridePlace, ...] = ("1x1", "3x3")
STEM_POOLS: tuple[StemPool, ...] = ("centred", "caffe")
# Where the networks of each family are published.
PAPERS: dict[Family, str] = {
    "resnet": "He et al. 2015, arXiv 1512.03385, table 1",
    "resnetv2": "He et al. 2016, arXiv 1603.05027",
    "cifar": "He et al. 2015, arXiv 1512.03385, section 4.2",
    "vgg": "Simonyan and Zisserman 2014, arXiv 1409.1556, table 1",
}
# This stands for the shortcut of the weights or of the paper, since None already means the plain net.
DEFAULT: Literal["default"] = "default"
# The channels of a colour image; only `resnet_tf.build` takes others.
CHANNELS = 3


@dataclass(frozen=True)
class Block:
    """The branch of a residual block.

    He et al. 2015 (arXiv 1512.03385), figure 5, have the basic block on the left and the bottleneck on the right.

    Args:
        kernels: Height and width of the kernel of each convolution, in pixels.
        expansion: Channels of the last convolution for one channel of the others.
    """

    kernels: tuple[int, ...]
    expansion: int

    def stride_index(self, place: StridePlace) -> int:
        """Returns the index of the convolution with the stride: the first, or the 3×3 of a bottleneck ("v1.5")."""
        return self.kernels.index(3) if place == "3x3" else 0


BASIC = Block(kernels=(3, 3), expansion=1)
BOTTLENECK = Block(kernels=(1, 3, 1), expansion=4)
SINGLE = Block(kernels=(3,), expansion=1)


@dataclass(frozen=True)
class Architecture:
    """A row of He et al. 2015, table 1, or of the table of another paper in `PAPERS`.

    Args:
        name: Name of the network for `build` and `--arch`.
        family: Kind of network, one of `PAPERS`.
        block: Branch that is repeated.
        repeats: Number of blocks in each stage.
        widths: Channels of the 3×3 convolutions in each stage.
        strides: Stride of each stage in height and width, in pixels; a VGG pools after its stages instead.
        stem: Channels of the first convolution; a VGG has no stem.
        hidden: Units of each hidden layer of the head.
        shortcut: Default of the shortcut option; the paper has B on ImageNet and A on CIFAR-10.
        stride_at: Default place of a bottleneck's stride.
        batch_norm: Whether a batch norm follows each convolution.
        use_bias: Whether convolutions before a batch norm have a bias. It does nothing there, but
            keras.applications has it in 50, 101 and 152, and so do its weight files and parameter counts.
        epsilon: Number that every batch norm adds to the variance: keras.applications' 1.001e-5, torchvision's 1e-5.
        image_size: Height and width of the images that the paper trains on, in pixels.
    """

    name: str
    family: Family
    block: Block
    repeats: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    stem: int = 64
    hidden: tuple[int, ...] = ()
    shortcut: Shortcut = "B"
    stride_at: StridePlace = "1x1"
    batch_norm: bool = True
    use_bias: bool = False
    epsilon: float = 1e-5
    image_size: int = 224

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the stem and the stages from the input on, with which the names of their layers begin."""
        if self.family == "vgg":
            return tuple(f"block{number}" for number in range(1, len(self.repeats) + 1))
        return tuple(f"conv{number}" for number in range(1, len(self.repeats) + 2))

    @property
    def depth(self) -> int:
        """Number of layers with weights on the way from the image to the classes, as the papers count them."""
        return (self.family != "vgg") + sum(self.repeats) * len(self.block.kernels) + len(self.hidden) + 1

    def widened(self, factor: float) -> "Architecture":
        """Returns the same network with `factor` times the channels in every layer but the classifier."""

        def wider(channels: int) -> int:
            return max(1, round(factor * channels))

        return replace(
            self,
            widths=tuple(map(wider, self.widths)),
            stem=wider(self.stem),
            hidden=tuple(map(wider, self.hidden)),
        )

    @property
    def has_bottlenecks(self) -> bool:
        """Whether the blocks are bottlenecks, whose stride can stand in two places."""
        return self.block.kernels == BOTTLENECK.kernels

    @property
    def pools_in_stem(self) -> bool:
        """Whether the stem pools, which can be padded in two ways."""
        return self.family in ("resnet", "resnetv2")

    @property
    def smallest_image(self) -> int:
        """Least height and width of an image, in pixels: more than one for a VGG, which pools without padding."""
        return 2 ** len(self.repeats) if self.family == "vgg" else 1


def _resnet50_like(name: str, repeats: tuple[int, ...]) -> Architecture:
    return Architecture(name, "resnet", BOTTLENECK, repeats, use_bias=True, epsilon=1.001e-5)


def _preactivated(name: str, repeats: tuple[int, ...]) -> Architecture:
    return Architecture(name, "resnetv2", BOTTLENECK, repeats, strides=(2, 2, 2, 1), stride_at="3x3", epsilon=1.001e-5)


def _cifar(depth: int) -> Architecture:
    """Returns a net of section 4.2, which has three stages of n basic blocks in 6n + 2 layers."""
    blocks = (depth - 2) // 6
    return Architecture(
        f"cifar_resnet{depth}",
        "cifar",
        BASIC,
        (blocks,) * 3,
        widths=(16, 32, 64),
        strides=(1, 2, 2),
        stem=16,
        shortcut="A",
        image_size=32,
    )


def _vgg(name: str, repeats: tuple[int, ...], *, batch_norm: bool) -> Architecture:
    return Architecture(
        name,
        "vgg",
        SINGLE,
        repeats,
        widths=(64, 128, 256, 512, 512),
        strides=(1, 1, 1, 1, 1),
        hidden=(4096, 4096),
        shortcut=None,
        batch_norm=batch_norm,
        use_bias=True,
    )


ARCHITECTURES = {
    row.name: row
    for row in (
        Architecture("resnet18", "resnet", BASIC, (2, 2, 2, 2)),
        Architecture("resnet34", "resnet", BASIC, (3, 4, 6, 3)),
        _resnet50_like("resnet50", (3, 4, 6, 3)),
        _resnet50_like("resnet101", (3, 4, 23, 3)),
        _resnet50_like("resnet152", (3, 8, 36, 3)),
        _preactivated("resnet50v2", (3, 4, 6, 3)),
        _preactivated("resnet101v2", (3, 4, 23, 3)),
        _preactivated("resnet152v2", (3, 8, 36, 3)),
        # Not of the paper: a twelfth of ResNet-18's work and a twentieth of its parameters, for the weights "drawn".
        Architecture("resnet10_slim", "resnet", BASIC, (1, 1, 1, 1), widths=(24, 48, 96, 128), stem=24, image_size=64),
        *(_cifar(depth) for depth in (20, 32, 44, 56, 110, 1202)),
        _vgg("vgg16", (2, 2, 3, 3, 3), batch_norm=False),
        _vgg("vgg19", (2, 2, 4, 4, 4), batch_norm=False),
        _vgg("vgg16_bn", (2, 2, 3, 3, 3), batch_norm=True),
        _vgg("vgg19_bn", (2, 2, 4, 4, 4), batch_norm=True),
    )
}


def find_architecture(name: str) -> Architecture:
    """Returns the row of that name.

    Raises:
        UserError: There is no such row; the message lists all names.
    """
    try:
        return ARCHITECTURES[name]
    except KeyError:
        raise UserError(f"unknown architecture {name!r}; known are {', '.join(ARCHITECTURES)}") from None


def check_classes(classes: Any) -> int:
    """Returns the number of classes as an int, NumPy's numbers included.

    Raises:
        UserError: It is not a whole number of 1 or more; text, 5.0 and True are none.
    """
    if isinstance(classes, bool) or not isinstance(classes, SupportsIndex) or (number := index(classes)) < 1:
        raise UserError(f"classes must be a whole number, at least 1, received {classes!r}")
    return number


def check_image_shape(row: Architecture, shape: tuple[int | None, ...]) -> None:
    """Checks that a network can read images of a shape.

    Args:
        row: Architecture of the network.
        shape: Height and width of the input in pixels, None where a size is free, and its channels.

    Raises:
        UserError: These are not three numbers, there are no channels, or the pixels are too few.
    """
    numbers = isinstance(shape, Sequence) and not isinstance(shape, str) and all(map(_is_size, shape))
    if not numbers or len(shape) != 3 or shape[-1] is None or shape[-1] < 1:
        raise UserError(f"input_shape must be (height, width, channels), such as (224, 224, 3), received {shape!r}")
    least = row.smallest_image
    if any(size is not None and size < least for size in shape[:2]):
        raise UserError(f"{row.name} needs images of at least {least} × {least} pixels, received {tuple(shape)}")
    if row.hidden and None in shape:
        raise UserError(
            f"the hidden layers of {row.name} want a fixed size, such as {row.image_size} × {row.image_size} pixels, "
            f"received {tuple(shape)}"
        )


def _is_size(size: Any) -> bool:
    return size is None or (isinstance(size, SupportsIndex) and not isinstance(size, bool))


@dataclass(frozen=True)
class Options:
    """The choices that all blocks of one network share, beyond its row.

    Args:
        shortcut: Option of He et al. 2015, section 3.3: "A" is the identity, padded with zero channels where the shape
            changes; "B" is a projection where the shape changes; "C" is a projection everywhere. None leaves the
            shortcut out, which makes the net plain.
        stride_at: Place of a bottleneck's stride: "1x1" is its first convolution, as in the paper, Caffe and Keras;
            "3x3" is its second, as in torchvision ("v1.5").
        stem_pool: Padding of the 3×3 pooling of the stem: "centred" pads all sides, as torchvision and Keras do;
            "caffe" pads below and on the right alone, which Caffe's rounding up amounts to.
        use_bias: Whether convolutions before a batch norm have a bias; all others always have one.
        zero_init: Whether the last batch norm of each block starts at zero, so that blocks start as identities
            (Goyal et al. 2017, arXiv 1706.02677, section 5.1).
        stochastic_depth: Probability that a training step skips the branch of the last block; that of the others
            grows linearly with depth, from 0 (Huang et al. 2016, arXiv 1603.09382).
    """

    shortcut: Shortcut
    stride_at: StridePlace
    stem_pool: StemPool = "centred"
    use_bias: bool = False
    zero_init: bool = False
    stochastic_depth: float = 0.0


def choose_options(
    row: Architecture,
    *,
    shortcut: Shortcut | Literal["default"] = DEFAULT,
    stride_at: StridePlace | None = None,
    stem_pool: StemPool | None = None,
    use_bias: bool | None = None,
    zero_init: bool = False,
    stochastic_depth: float = 0.0,
) -> Options:
    """Returns the options of a network: the caller's choices, and its row's where the caller leaves one open.

    Args:
        row: Architecture of the network.
        shortcut: Choice as in `Options`, or "default" for the row's.
        stride_at: Choice as in `Options`, or None for the row's.
        stem_pool: Choice as in `Options`, or None for "centred".
        use_bias: Choice as in `Options`, or None for the row's.
        zero_init: Choice as in `Options`.
        stochastic_depth: Choice as in `Options`.

    Raises:
        UserError: A value is out of its range, or the network has nothing that it could change.
    """
    shortcut = row.shortcut if shortcut == DEFAULT else shortcut
    if shortcut not in SHORTCUTS:
        raise UserError(f"shortcut must be 'A', 'B', 'C' or None, received {shortcut!r}")
    if stride_at not in (None, *STRIDE_PLACES):
        raise UserError(f"stride_at must be '1x1' or '3x3', received {stride_at!r}")
    if stem_pool not in (None, *STEM_POOLS):
        raise UserError(f"stem_pool must be 'centred' or 'caffe', received {stem_pool!r}")
    if stride_at is not None and not row.has_bottlenecks:
        raise UserError(f"{row.name} has no bottlenecks, received stride_at={stride_at!r}")
    if stem_pool is not None and not row.pools_in_stem:
        raise UserError(f"{row.name} has no pooling in its stem, received stem_pool={stem_pool!r}")
    if not 0.0 <= stochastic_depth < 1.0:
        raise UserError(f"stochastic_depth must be at least 0 and below 1, received {stochastic_depth}")
    if row.family == "vgg" and shortcut is not None:
        raise UserError(f"{row.name} has no shortcuts, received shortcut={shortcut!r}")
    if stochastic_depth and shortcut is None:
        raise UserError(f"stochastic_depth needs shortcuts, and {row.name} is built without them")
    if zero_init and (row.family in ("vgg", "resnetv2") or shortcut is None):
        raise UserError(f"zero_init needs blocks that end in a batch norm and a shortcut, and {row.name} has none")
    return Options(
        shortcut=shortcut,
        stride_at=stride_at or row.stride_at,
        stem_pool=stem_pool or "centred",
        use_bias=row.use_bias if use_bias is None else use_bias,
        zero_init=zero_init,
        stochastic_depth=stochastic_depth,
    )
