"""A network in Kaiming He's Caffe layout: random blobs, evaluated layer by layer with NumPy as Caffe does it."""

import numpy as np

from tests.resnet_tf.test_caffe_files import blob, layer, network

WIDTH = 1 / 16
REPEATS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}


def block_names(name):
    """Yields (stage, block) in He's names: a, b, c …, and in the deeper networks a, b1, b2 … for conv3 and conv4."""
    for stage, repeats in enumerate(REPEATS[name], start=2):
        for block in range(repeats):
            numbered = name != "resnet50" and stage in (3, 4) and block > 0
            yield stage, block, f"{stage}b{block}" if numbered else f"{stage}{'abcdefgh'[block]}"


class CaffeNet:
    """Random blobs by layer name, with their evaluation."""

    def __init__(self, name, classes):
        self.random, self.name, self.blobs = np.random.default_rng(5), name, {}
        stem = round(64 * WIDTH)
        self.add("conv1", "bn_conv1", "scale_conv1", stem, 3, 7)
        if name == "resnet50":  # its first convolution has a bias
            self.blobs["conv1"].append(self.normal(stem, deviation=0.1))
        channels = stem
        for stage, block, place in block_names(name):
            width = round(64 * WIDTH * 2 ** (stage - 2))
            branches = [("2a", width, channels, 1), ("2b", width, width, 3), ("2c", 4 * width, width, 1)]
            branches += [("1", 4 * width, channels, 1)] if block == 0 else []
            for branch, filters, inputs, kernel in branches:
                names = [f"{kind}{place}_branch{branch}" for kind in ("res", "bn", "scale")]
                self.add(*names, filters, inputs, kernel)
            channels = 4 * width
        self.blobs["fc1000"] = [self.normal(classes, channels, deviation=channels**-0.5), self.normal(classes)]

    def normal(self, *shape, deviation=1.0):
        return self.random.normal(0, deviation, shape).astype("float32")

    def add(self, convolution, batch_norm, scale, filters, channels, kernel):
        deviation = (2.0 / (channels * kernel**2)) ** 0.5
        self.blobs[convolution] = [self.normal(filters, channels, kernel, kernel, deviation=deviation)]
        factor = np.float32(999.982)  # Caffe keeps sums of statistics and their divisor
        variance = self.random.uniform(0.5, 1.5, filters).astype("float32")
        self.blobs[batch_norm] = [self.normal(filters, deviation=0.1) * factor, variance * factor, factor[None]]
        gamma = self.random.uniform(0.5, 1.0, filters).astype("float32")
        self.blobs[scale] = [gamma, self.normal(filters, deviation=0.1)]

    def convolve(self, x, place, stride=1, prefixes=("res", "bn", "scale")):
        """Applies Convolution, BatchNorm and Scale to x, [batch, channels, height, width]."""
        convolution, batch_norm, scale = (f"{prefix}{place}" for prefix in prefixes)
        kernel, *bias = self.blobs[convolution]
        padding = kernel.shape[-1] // 2
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], (2, 3))[:, :, ::stride, ::stride]
        x = np.einsum("bcyxij,fcij->bfyx", windows, kernel, optimize=True)
        x = x + bias[0][:, None, None] if bias else x
        mean, variance, factor = self.blobs[batch_norm]
        gamma, beta = self.blobs[scale]
        normalized = (x - (mean / factor)[:, None, None]) / np.sqrt(variance / factor + 1e-5)[:, None, None]
        return normalized * gamma[:, None, None] + beta[:, None, None]

    def write(self, path):
        """Writes the network as a .caffemodel."""
        path.write_bytes(network(*[layer(key, *map(blob, arrays)) for key, arrays in self.blobs.items()]))

    def logits(self, x):
        """Returns the logits of images [batch, channels, height, width]."""
        x = np.maximum(self.convolve(x, "conv1", 2, ("", "bn_", "scale_")), 0)
        x = caffe_max_pool(x)
        for stage, block, place in block_names(self.name):
            stride = 2 if stage > 2 and block == 0 else 1
            shortcut = self.convolve(x, f"{place}_branch1", stride) if block == 0 else x
            x = np.maximum(self.convolve(x, f"{place}_branch2a", stride), 0)
            x = np.maximum(self.convolve(x, f"{place}_branch2b"), 0)
            x = np.maximum(self.convolve(x, f"{place}_branch2c") + shortcut, 0)
        weight, bias = self.blobs["fc1000"]
        return x.mean(axis=(2, 3)) @ weight.T + bias


def caffe_max_pool(x, kernel=3, stride=2):
    """Pools like Caffe, whose last windows may extend beyond the edge as it rounds the size up (pooling_layer.cpp)."""
    height, width = (-(-(size - kernel) // stride) + 1 for size in x.shape[2:])
    rows = [x[:, :, stride * row : stride * row + kernel].max(axis=2) for row in range(height)]
    x = np.stack(rows, axis=2)
    columns = [x[..., stride * column : stride * column + kernel].max(axis=3) for column in range(width)]
    return np.stack(columns, axis=3)
