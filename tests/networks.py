"""Networks for the tests only, which are built and traced in a fraction of the time."""

from resnet_tf.architectures import BASIC, Architecture

# A network of four layers, for tests that train on several devices or many times.
TINY = Architecture("tiny", "resnet", BASIC, (1,), widths=(8,), strides=(2,), stem=8)
# A network with all stages of a ResNet-18, for tests of everything that depends on the stages.
SMALL = Architecture("small", "resnet", BASIC, (1, 1, 1, 1), widths=(8, 16, 32, 64), stem=8)
