"""Outlines of drawn things: polygons around the origin, of a radius of about 1."""

import math
from collections.abc import Callable

Points = list[tuple[float, float]]
_SMOOTH = 48  # corners of a curve that is to look round


def regular(corners: int, inner: float | None = None) -> Points:
    """Returns a regular polygon of radius 1, or a star if an inner radius is given."""
    radii = [1.0] if inner is None else [1.0, inner]
    count = corners * len(radii)
    return [
        (
            radii[k % len(radii)] * math.sin(2 * math.pi * k / count),
            -radii[k % len(radii)] * math.cos(2 * math.pi * k / count),
        )
        for k in range(count)
    ]


def polar(radius: Callable[[float], float], corners: int = 96) -> Points:
    """Returns the outline whose distance from the origin is a function of the angle, in radians from above."""
    angles = [2 * math.pi * k / corners for k in range(corners)]
    return [(radius(angle) * math.sin(angle), -radius(angle) * math.cos(angle)) for angle in angles]


def arc(centre: tuple[float, float], radius: float, begin: float, end: float) -> Points:
    """Returns the points of an arc, from one angle to another, in degrees clockwise from the right."""
    angles = [math.radians(begin + (end - begin) * k / _SMOOTH) for k in range(_SMOOTH + 1)]
    return [(centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle)) for angle in angles]


def mirrored(half: Points) -> Points:
    """Returns an outline that is the same on both sides, from the points of its right half, from above to below."""
    return half + [(-x, y) for x, y in reversed(half)]


_ARM = 0.36
# The six shapes of the built-in sample.
SAMPLE_OUTLINES: dict[str, Points] = {
    "circle": regular(_SMOOTH),
    "triangle": regular(3),
    "square": regular(4),
    "star": regular(5, inner=0.42),
    "cross": [
        (-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM),
        (_ARM, 1), (-_ARM, 1), (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM),
    ],
    "arrow": [(0, -1), (0.8, 0), (0.3, 0), (0.3, 1), (-0.3, 1), (-0.3, 0), (-0.8, 0)],
}  # fmt: skip

# Others, which the weights `drawn` have seen (tools/drawn_weights.py). None of them is among the six.
OTHER_OUTLINES: dict[str, Points] = {
    "pentagon": regular(5),
    "octagon": regular(8),
    "spark": regular(4, inner=0.3),
    "burst": regular(10, inner=0.66),
    "flower": polar(lambda angle: 0.72 + 0.28 * math.cos(5 * angle)),
    "clover": polar(lambda angle: 0.3 + 0.7 * abs(math.cos(2 * angle))),
    "trefoil": polar(lambda angle: 0.62 + 0.38 * math.cos(3 * angle)),
    "gear": polar(lambda angle: 1.0 if angle * 9 / math.pi % 2 < 1 else 0.74, 180),
    "ellipse": [(0.55 * x, y) for x, y in regular(_SMOOTH)],
    "lens": arc((-0.75, 0), 1.25, -53, 53) + arc((0.75, 0), 1.25, 127, 233),
    "drop": polar(lambda angle: 0.62 + 0.38 * max(0.0, math.cos(angle)) ** 7),
    "heart": mirrored([(0, -0.5), *arc((0.45, -0.45), 0.46, -175, 35), (0, 0.95)]),
    "moon": arc((0, 0), 1.0, 50, 310) + arc((0.45, 0), 0.78, 275, 85),
    "half": arc((0, 0.35), 1.0, 180, 360),
    "slice": [(0.0, 0.0), *arc((0, 0), 1.0, 0, 270)],
    "bolt": [(0.15, -1), (-0.6, 0.15), (-0.08, 0.15), (-0.3, 1), (0.6, -0.25), (0.08, -0.25), (0.45, -1)],
    "house": mirrored([(0, -1), (0.85, -0.2), (0.62, -0.2), (0.62, 0.85)]),
    "tree": mirrored([(0, -1), (0.55, -0.25), (0.3, -0.25), (0.75, 0.5), (0.18, 0.5), (0.18, 1)]),
    "hourglass": mirrored([(0.75, -1), (0.12, 0), (0.75, 1)]),
    "tee": mirrored([(0.85, -0.9), (0.85, -0.35), (0.26, -0.35), (0.26, 0.95)]),
    "ell": [(-0.7, -0.95), (-0.15, -0.95), (-0.15, 0.4), (0.75, 0.4), (0.75, 0.95), (-0.7, 0.95)],
    "chevron": mirrored([(0, -0.75), (0.95, 0.15), (0.95, 0.8), (0, -0.05)]),
    "boat": mirrored([(0, -1), (0.08, 0.1), (0.95, 0.1), (0.55, 0.75)]),
    "fish": [*arc((-0.2, 0), 0.72, 30, 330), (0.95, -0.75), (0.7, 0), (0.95, 0.75)],
    "bar": [(-0.32, -1), (0.32, -1), (0.32, 1), (-0.32, 1)],
    "kite": mirrored([(0, -1), (0.62, -0.3), (0, 1)]),
}
