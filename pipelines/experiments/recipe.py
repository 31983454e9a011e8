"""The recipe of He et al. 2015, section 4.2, for CIFAR-10."""

from dataclasses import dataclass
from typing import Any

PAPER_STEPS = 64_000


@dataclass(frozen=True)
class Recipe:
    """SGD with momentum, whose learning rate is divided by ten at half and at three quarters of the steps.

    The paper does so at 32,000 and 48,000 of its 64,000 steps.

    Args:
        batch_size: Images in a step.
        rate: Learning rate of the first steps.
        momentum: Share of the last step that the next one repeats.
        weight_decay: Factor of the weights that is added to their gradients.
        padding: Pixels around an image before a random crop of the image's size is taken.
        warm_up: Number of first steps with a tenth of the learning rate; the paper has 400 at 110 layers.
    """

    batch_size: int = 128
    rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    padding: int = 4
    warm_up: int = 0

    def rate_at(self, step: Any, total: Any, numpy: Any) -> Any:
        """Returns the learning rate of a step.

        Args:
            step: Index of the step, a number or an array of the module `numpy`.
            total: Number of steps of the whole training.
            numpy: Module that has `power`: NumPy, or JAX's.
        """
        falls = (2 * step >= total) * 1.0 + (4 * step >= 3 * total) * 1.0 + (step < self.warm_up) * 1.0
        return self.rate * numpy.power(0.1, falls)
