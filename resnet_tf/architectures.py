"""Every network as a row of data. Knows no Keras, so a command line can read it at once."""

from dataclasses import dataclass
from typing import Literal

from resnet_tf.errors import UserError

Shortcut = Literal["A", "B", "C"] | None
StridePlace = Literal["1x1", "3x3"]
SHORTCUTS: tuple[Shortcut, ...] = ("A", "B", "C", None)
STRIDE_PLACES: tuple[StridePlace, ...] = ("1x1", "3x3")


@dataclass(frozen=True)
class Block:
    """A residual branch: the kernel sizes of its convolutions, and how much wider its last one is.

    He et al. 2015 (arXiv 1512.03385), figure 5: the basic block on the left, the bottleneck on the right.
    """

    kernels: tuple[int, ...]
    expansion: int

    def stride_index(self, place: StridePlace) -> int:
        """Which of the convolutions carries the stride: the first, or the 3×3 of a bottleneck ("v1.5")."""
        return self.kernels.index(3) if place == "3x3" else 0


BASIC = Block(kernels=(3, 3), expansion=1)
BOTTLENECK = Block(kernels=(1, 3, 1), expansion=4)


@dataclass(frozen=True)
class Architecture:
    """One row of He et al. 2015, table 1, and what the public weights for it expect.

    Args:
        name: As `build` and `--arch` take it.
        block: The residual branch that is repeated.
        repeats: Blocks in each of the stages conv2 … conv5.
        widths: Channels of the 3×3 convolutions in each stage.
        strides: Stride of the first block of each stage.
        use_bias: Whether the convolutions have a bias. It does nothing before a batch norm, but
            keras.applications has it in 50, 101 and 152, and so do its weight files and parameter counts.
        epsilon: Of every batch norm: keras.applications' 1.001e-5, torchvision's 1e-5.
    """

    name: str
    block: Block
    repeats: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    use_bias: bool = False
    epsilon: float = 1e-5


ARCHITECTURES = {
    row.name: row
    for row in (
        Architecture("resnet18", BASIC, (2, 2, 2, 2)),
        Architecture("resnet34", BASIC, (3, 4, 6, 3)),
        Architecture("resnet50", BOTTLENECK, (3, 4, 6, 3), use_bias=True, epsilon=1.001e-5),
        Architecture("resnet101", BOTTLENECK, (3, 4, 23, 3), use_bias=True, epsilon=1.001e-5),
        Architecture("resnet152", BOTTLENECK, (3, 8, 36, 3), use_bias=True, epsilon=1.001e-5),
    )
}


def find_architecture(name: str) -> Architecture:
    """The row of that name.

    Raises:
        UserError: There is none; the message lists those there are.
    """
    try:
        return ARCHITECTURES[name]
    except KeyError:
        raise UserError(f"unknown architecture {name!r}; known are {', '.join(ARCHITECTURES)}") from None


def check_shortcut(shortcut: Shortcut) -> Shortcut:
    """The argument itself.

    Raises:
        UserError: It is not one of "A", "B", "C" and None.
    """
    if shortcut not in SHORTCUTS:
        raise UserError(f"shortcut must be 'A', 'B', 'C' or None, received {shortcut!r}")
    return shortcut


def check_stride_at(stride_at: StridePlace) -> StridePlace:
    """The argument itself.

    Raises:
        UserError: It is neither "1x1" nor "3x3".
    """
    if stride_at not in STRIDE_PLACES:
        raise UserError(f"stride_at must be '1x1' or '3x3', received {stride_at!r}")
    return stride_at
