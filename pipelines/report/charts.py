"""The charts of a page, as SVG whose colours follow the page's look in light and dark mode."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipelines.evaluation.calibration import ReliabilityBin
from pipelines.evaluation.refusal import Answered

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 54, 26, 14, 42
# Width of the part of a chart that has the data; the script moves a mark along it.
INNER = WIDTH - LEFT - RIGHT


@dataclass(frozen=True)
class Axis:
    """An axis of a chart.

    Args:
        label: What it shows, with its unit.
        low: Smallest value.
        high: Largest value.
        ticks: Values that are written beside it.
        percent: Whether the values are written in percent.
    """

    label: str
    low: float
    high: float
    ticks: Sequence[float]
    percent: bool = False

    def share(self, value: float) -> float:
        """Returns where a value stands, from 0 at the lower end to 1 at the upper one."""
        return (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)

    def written(self, value: float) -> str:
        return f"{100 * value:.4g} %" if self.percent else f"{value:.4g}"


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Args:
        name: What it shows.
        points: Its points, (x, y); a gap where y is None or NaN.
        kind: "", "second" or "third", which differ in colour and in dashes.
        dots: Whether the points have dots.
    """

    name: str
    points: Sequence[tuple[float, float | None]]
    kind: str = ""
    dots: bool = True


def axis_over(label: str, values: Sequence[float], percent: bool = False) -> Axis:
    """Returns an axis that begins and ends with round numbers around some values."""
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = power * next(step for step in (1, 2, 2.5, 5, 10) if span <= 5 * step * power)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last += first == last
    return Axis(label, first * step, last * step, [number * step for number in range(first, last + 1)], percent)


SHARES = tuple(number / 5 for number in range(6))


def line_chart(
    described: str, x: Axis, y: Axis, lines: Sequence[Line], star: tuple[float, float] | None = None
) -> Markup:
    """Returns a chart of lines.

    Args:
        described: What the chart shows, for those who cannot see it.
        x: Horizontal axis.
        y: Vertical axis.
        lines: Lines of the chart.
        star: A point that is marked, such as the best model.
    """
    parts = [_line(line, x, y) for line in lines]
    if star is not None:
        parts.append(Markup('<circle class="star" cx="{}" cy="{}" r="6"/>').format(*_place(star, x, y)))
    return _chart(described, x, y, [*parts, _legend(lines)])


def reliability_diagram(named: Sequence[tuple[str, Sequence[ReliabilityBin]]]) -> Markup:
    """Returns a reliability diagram with Wilson intervals, and bars that show how many images each bin has.

    Args:
        named: Name and bins of at most two kinds of probabilities, such as before and after temperature scaling.
    """
    x, y = Axis("confidence", 0, 1, SHARES, True), Axis("share that is right", 0, 1, SHARES, True)
    bins = named[-1][1]
    most = max((each.images for each in bins), default=1)
    parts = [_bar(each, most, x, y) for each in bins]
    parts.append(Markup('<path class="ideal" d="{}"/>').format(_path([(0, 0), (1, 1)], x, y)))
    lines = []
    for kind, (name, found) in zip(("", "second") if len(named) == 1 else ("second", ""), named, strict=False):
        lines.append(Line(name, [(each.confidence, each.accuracy) for each in found], kind))
        if not kind:
            parts += [_whisker(each, x, y) for each in found]
        parts.append(_line(lines[-1], x, y))
    described = (
        "Reliability diagram: the share of right answers over the confidence, in bins; bars show numbers of images"
    )
    return _chart(described, x, y, [*parts, _legend(lines if len(lines) > 1 else [])])


def coverage_chart(points: Sequence[Answered]) -> Markup:
    """Returns the share of right answers over the share of photos that are answered, with the mark of the slider."""
    known = [(each.coverage, each.accuracy) for each in points if each.accuracy is not None]
    least = min(share for _, share in known)
    x = Axis("photos that are answered", 0, 1, SHARES, True)
    y = axis_over("answers that are right", [least, 1.0], True)
    mark = Markup(
        '<g id="refusing-mark" data-width="{}"><line class="at" x1="{}" x2="{}" y1="{}" y2="{}"/></g>'
    ).format(INNER, LEFT, LEFT, TOP, HEIGHT - BOTTOM)
    line = Line("right", [*known], dots=False)
    described = "Share of right answers over the share of photos that are answered, from the surest answers on"
    return _chart(described, x, y, [_line(line, x, y), mark])


def _bar(each: ReliabilityBin, most: int, x: Axis, y: Axis) -> Markup:
    left, right = _place((each.low, 0), x, y)[0], _place((each.high, 0), x, y)[0]
    height = (HEIGHT - TOP - BOTTOM) * each.images / most * 0.3
    title = (
        f"{each.images} images with a confidence of {each.low:.2f} to {each.high:.2f}: {each.accuracy:.1%} are right"
    )
    return Markup('<rect class="bar" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>').format(
        left + 1, round(HEIGHT - BOTTOM - height, 1), max(1, round(right - left - 2, 1)), round(height, 1), title
    )


def _whisker(each: ReliabilityBin, x: Axis, y: Axis) -> Markup:
    (at, low), (_, high) = (_place((each.confidence, end), x, y) for end in (each.accuracy_low, each.accuracy_high))
    return Markup('<line class="whisker" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(at, at, low, high)


def _line(line: Line, x: Axis, y: Axis) -> Markup:
    known = [(across, up) for across, up in line.points if up is not None and math.isfinite(up)]
    parts = [
        Markup('<path class="line {}" d="{}"><title>{}</title></path>').format(
            line.kind, _path(line.points, x, y), line.name
        )
    ]
    if line.dots:
        for point in known:
            title = f"{line.name}: {y.written(point[1])} at {x.written(point[0])}"
            parts.append(
                Markup('<circle class="dot {}" cx="{}" cy="{}" r="3.5"><title>{}</title></circle>').format(
                    line.kind, *_place(point, x, y), title
                )
            )
    return Markup("").join(parts)


def _path(points: Sequence[tuple[float, float | None]], x: Axis, y: Axis) -> str:
    words, begun = [], False
    for across, up in points:
        if up is None or not math.isfinite(up):
            begun = False
            continue
        words.append("{}{} {}".format("L" if begun else "M", *_place((across, up), x, y)))
        begun = True
    return " ".join(words)


def _place(point: tuple[float, float], x: Axis, y: Axis) -> tuple[float, float]:
    across, up = x.share(point[0]), y.share(point[1])
    return round(LEFT + across * INNER, 1), round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1)


def _legend(lines: Sequence[Line]) -> Markup:
    if len(lines) < 2:
        return Markup("")
    parts, left = [], LEFT + 8
    for line in lines:
        parts.append(
            Markup('<path class="line {}" d="M{} {}h22"/><text x="{}" y="{}">{}</text>').format(
                line.kind, left, TOP + 8, left + 27, TOP + 12, line.name
            )
        )
        left += 40 + 7 * len(line.name)
    return Markup("").join(parts)


def _chart(described: str, x: Axis, y: Axis, parts: Sequence[Markup]) -> Markup:
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    frame = []
    for tick in y.ticks:
        height = _place((x.low, tick), x, y)[1]
        frame.append(
            Markup('<path class="grid" d="M{} {}H{}"/><text x="{}" y="{}" text-anchor="end">{}</text>').format(
                LEFT, height, right, LEFT - 6, height + 4, y.written(tick)
            )
        )
    for tick in x.ticks:
        across = _place((tick, y.low), x, y)[0]
        frame.append(
            Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(across, floor + 16, x.written(tick))
        )
    frame.append(Markup('<path class="axis" d="M{} {}V{}H{}"/>').format(LEFT, TOP, floor, right))
    frame.append(
        Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format((LEFT + right) / 2, HEIGHT - 6, x.label)
    )
    frame.append(
        Markup('<text transform="translate(11 {}) rotate(-90)" text-anchor="middle">{}</text>').format(
            (TOP + floor) / 2, y.label
        )
    )
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>').format(
        WIDTH, HEIGHT, described, Markup("").join(frame), Markup("").join(parts)
    )
