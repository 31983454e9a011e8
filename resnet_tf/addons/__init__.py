"""The parts of tensorflow-addons 0.23 for image classification that Keras 3 does not have.

Names, arguments and results are those of the package, which ended in May 2024. Differences are described where they
occur, and docs/from-tensorflow-addons.md lists replacements for everything else.
"""

from resnet_tf.addons.callbacks import TimeStopping
from resnet_tf.addons.metrics import CohenKappa, MatthewsCorrelationCoefficient
from resnet_tf.addons.optimizers import SWA, Lookahead
from resnet_tf.addons.rectified_adam import RectifiedAdam
from resnet_tf.addons.schedules import (
    CyclicalLearningRate,
    ExponentialCyclicalLearningRate,
    Triangular2CyclicalLearningRate,
    TriangularCyclicalLearningRate,
)
from resnet_tf.layers import StochasticDepth

__all__ = [
    "SWA",
    "CohenKappa",
    "CyclicalLearningRate",
    "ExponentialCyclicalLearningRate",
    "Lookahead",
    "MatthewsCorrelationCoefficient",
    "RectifiedAdam",
    "StochasticDepth",
    "TimeStopping",
    "Triangular2CyclicalLearningRate",
    "TriangularCyclicalLearningRate",
]
