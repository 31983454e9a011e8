"""Whether an export may be kept: how far its answers may be from those of the run's model."""

from dataclasses import dataclass

from pipelines.config.formats import BFLOAT16, FLOAT16, FLOAT32, INT8

ALPHA = 0.05


@dataclass(frozen=True)
class Bound:
    """How far an export of a precision may differ.

    Args:
        far: Share of the photos in which a probability may differ by more than `FAR`, as one does where a pixel of the
            view is rounded to the next gray level; one photo always may.
        probability: Difference of a probability that no photo may have.
        changed: Share of the photos whose answer may change; one photo always may.
        lost: Share of the photos by which the accuracy may fall; one photo always may.
    """

    far: float = 1.0
    probability: float = 1.0
    changed: float = 0.0
    lost: float = 0.0


# In float32 only the order of sums differs. The others are a few times what natural30 shows in docs/export.md.
FAR = 1e-3
BOUNDS = {
    FLOAT32: Bound(far=0.01, probability=1e-2),
    FLOAT16: Bound(changed=0.01, lost=0.005),
    BFLOAT16: Bound(changed=0.03, lost=0.01),
    INT8: Bound(changed=0.05, lost=0.02),
}


@dataclass(frozen=True)
class Agreement:
    """How an export's answers agree with those of the run's model, on the same photos.

    Args:
        n: Number of photos.
        largest: Largest difference of a probability.
        far: Number of photos that have a difference of more than `FAR`.
        mean: Mean difference of a probability.
        changed: Number of photos that are named differently.
        only_model: Number of photos that only the run's model names rightly; None without labels.
        only_export: Number of photos that only the export names rightly; None without labels.
        mcnemar_p: Probability of such a difference by chance; None without labels.
    """

    n: int
    largest: float
    far: int
    mean: float
    changed: int
    only_model: int | None = None
    only_export: int | None = None
    mcnemar_p: float | None = None


def complaint(precision: str, found: Agreement) -> str:
    """Returns why an export is not kept, or "" if it is."""
    bound = BOUNDS[precision]
    if not found.largest <= bound.probability:  # NaN is no agreement
        return f"a probability differs by {found.largest:.2g}, more than {bound.probability:g}"
    if precision == FLOAT32:  # answers change only where two classes are as likely
        most = _photos(bound.far, found.n)
        shared = f"in {found.far} of {found.n} photos a probability differs by more than {FAR:g}"
        return f"{shared}; {most} may" if found.far > most else ""
    most = _photos(bound.changed, found.n)
    if found.changed > most:
        return f"it changes {found.changed} of {found.n} answers, more than the {most} that {precision} may"
    if found.only_model is None or found.only_export is None or found.mcnemar_p is None:
        return ""
    lost, most = found.only_model - found.only_export, _photos(bound.lost, found.n)
    if lost > most:
        return f"{lost} of {found.n} photos are no longer named rightly, more than the {most} that {precision} may lose"
    if lost > 0 and found.mcnemar_p < ALPHA:
        return f"its answers are likely to be worse: McNemar's p = {found.mcnemar_p:.2g}"
    return ""


def _photos(share: float, n: int) -> int:
    return max(1, int(share * n))
