"""Networks that only tests have, since they are built and traced in a fraction of the time."""

from resnet_tf.architectures import BASIC, Architecture

# Four layers, for tests that train it on several devices or again and again.
TINY = Architecture("tiny", "resnet", BASIC, (1,), widths=(8,), strides=(2,), stem=8)
# All stages of a ResNet-18, for what is decided by stages.
SMALL = Architecture("small", "resnet", BASIC, (1, 1, 1, 1), widths=(8, 16, 32, 64), stem=8)
