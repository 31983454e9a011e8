"""Heads: the layers from what the stages give to logits."""

from typing import Any

from keras import layers

from resnet_tf.architectures import Architecture
from resnet_tf.vgg import hidden_layers

POOLINGS = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}


def classifier_head(
    stages: dict[str, Any],
    row: Architecture,
    classes: int,
    *,
    activation: str | None = None,
    dropout: float = 0.0,
    head_stages: int = 1,
    head_pooling: str = "avg",
) -> Any:
    """Builds the paper's head: average pooling, or the hidden layers of a VGG, and the classifier.

    The classifier computes in float32, so that probabilities keep their precision.

    Args:
        stages: Output of each stage, first to last.
        row: Architecture of the network.
        classes: Number of outputs.
        activation: None for logits, "softmax" for probabilities.
        dropout: Share of the features that training drops, in 0 … 1.
        head_stages: Number of the last stages that the classifier sees, each pooled; the papers have 1. A classifier
            of other classes than the weights' gains from more (Evci et al. 2022, "Head2Toe", arXiv 2201.03529).
        head_pooling: "avg", or "avg+max" to put the maxima of the same stages behind all averages. The hidden layers
            of a VGG stand for its last stage and have no maximum.

    Returns:
        Tensor [batch, classes].
    """
    *earlier, (_, last) = list(stages.items())[-head_stages:]
    # keras.applications calls the pooling of the last stage avg_pool.
    maps = {f"{name}_": x for name, x in earlier} | ({} if row.hidden else {"": last})
    features = [POOLINGS["avg"](name=f"{prefix}avg_pool")(x) for prefix, x in maps.items()]
    if row.hidden:
        features.append(hidden_layers(last, row, dropout))
    if head_pooling == "avg+max":
        features += [POOLINGS["max"](name=f"{prefix}max_pool")(x) for prefix, x in maps.items()]
    x = features[0] if len(features) == 1 else layers.Concatenate(name="features")(features)
    if dropout and not row.hidden:
        x = layers.Dropout(dropout, name="dropout")(x)
    return layers.Dense(classes, activation=activation, dtype="float32", name="predictions")(x)
