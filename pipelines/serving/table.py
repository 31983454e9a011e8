"""The figures of exports as a table for a terminal."""

from pipelines.serving.measure import BATCHES, Measured, Measurement
from pipelines.serving.photos import DRAWN, LEARNED

_TITLES = ("format", "accuracy (95 % interval)", "changed", "p", "difference max, mean", "images/s", "MB", "peak MiB")


def table_of(measurement: Measurement) -> str:
    """Returns a heading, a row for each export and a line of what the columns are."""
    rows = [_TITLES, *(_row(found) for found in measurement.exports)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    batches = " and ".join(str(batch) for batch in BATCHES)
    known = _share(measurement.accuracy, measurement.accuracy_ci95)
    return "\n".join(
        [
            f"measured on {_photos(measurement)}; the run's model: accuracy {known}",
            *(f"  {line}" for line in lines),
            f"  images/s at a batch of {batches}, as multiples of the SavedModel in brackets; p is McNemar's",
        ]
    )


def _row(found: Measured) -> tuple[str, ...]:
    agreement, cost = found.agreement, found.cost
    speeds = [
        f"{speed:.1f} ({speed / cost.saved_model_per_second[batch]:.1f}×)"
        for batch, speed in cost.images_per_second.items()
    ]
    return (
        str(found.target) + _remark(found),
        _share(found.accuracy, found.accuracy_ci95),
        str(agreement.changed),
        "–" if agreement.mcnemar_p is None else f"{agreement.mcnemar_p:.2g}",
        f"{agreement.largest:.2g}, {agreement.mean:.2g}",
        "  ".join(speeds),
        f"{cost.bytes / 1e6:.1f}",
        f"{cost.peak_bytes / 2**20:.0f}",
    )


def _remark(found: Measured) -> str:
    if found.complaint:
        return " (not kept)"
    return "" if found.wanted else " (for comparison)"


def _photos(measurement: Measurement) -> str:
    if measurement.split == DRAWN:
        return f"{measurement.n} drawn pictures"
    learned = ", from which the model has learned" if measurement.split == LEARNED else ""
    return f"{measurement.n} photos of {measurement.split}{learned}"


def _share(share: float | None, interval: tuple[float, float] | None) -> str:
    return "–" if share is None or interval is None else f"{share:.4f} ({interval[0]:.4f} to {interval[1]:.4f})"
