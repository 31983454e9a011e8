"""The one look of pages and figures: colours for light and dark, type and spacing.

Blue and vermilion are those of Okabe and Ito's palette ("Color universal design", 2008), which colour-blind people tell
apart; in dark mode they are lighter, so that they keep their contrast.
"""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Colours:
    """The colours of one mode, each as #rrggbb.

    Args:
        paper: Background of the page.
        panel: Background of what stands out from it.
        ink: Text.
        quiet: Text of less importance.
        line: Rules, frames and grids.
        right: What is right, the diagonal of a matrix, and the main line of a chart.
        wrong: What is wrong, and the second line of a chart.
        third: A third line.
        mark: What has to be found at once, such as the best model.
    """

    paper: str
    panel: str
    ink: str
    quiet: str
    line: str
    right: str
    wrong: str
    third: str
    mark: str


LIGHT = Colours(
    paper="#ffffff",
    panel="#f4f5f7",
    ink="#1a1d23",
    quiet="#565e6b",
    line="#d5d9e0",
    right="#0072b2",
    wrong="#d55e00",
    third="#00795a",
    mark="#f0e442",
)
DARK = Colours(
    paper="#15171b",
    panel="#1f2228",
    ink="#e9ebef",
    quiet="#a3abb8",
    line="#3a3f49",
    right="#5db3e6",
    wrong="#f58a3c",
    third="#3dc29a",
    mark="#f0e442",
)
# Families that every system has; names of classes may be of any script.
TYPE = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif'
SIZE = "16px"
# The unit of all distances.
SPACE = "0.5rem"
WIDEST = "76rem"


def style_variables() -> str:
    """Returns the look as CSS custom properties, with the dark colours where the reader prefers them."""
    common = f"--type:{TYPE};--size:{SIZE};--space:{SPACE};--widest:{WIDEST}"
    light, dark = (";".join(f"--{name}:{value}" for name, value in asdict(mode).items()) for mode in (LIGHT, DARK))
    # On paper the light colours are right, whatever the screen prefers.
    return f":root{{{common};{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"


def rgb(colour: str) -> tuple[float, float, float]:
    """Returns red, green and blue of a colour #rrggbb, each in 0 … 1."""
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return red, green, blue
