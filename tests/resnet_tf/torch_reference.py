"""ResNet and VGG in PyTorch, with which our networks are compared.

They are written from the papers; only the names of the modules are torchvision's.
"""

import torch
from torch import nn


def convolution(channels, filters, kernel, stride=1):
    return nn.Conv2d(channels, filters, kernel, stride, kernel // 2, bias=False)


class Block(nn.Module):
    """A basic block or a bottleneck."""

    def __init__(self, channels, width, stride, bottleneck, stride_at):
        super().__init__()
        filters = 4 * width if bottleneck else width
        if bottleneck:
            first, second = (stride, 1) if stride_at == "1x1" else (1, stride)
            self.conv1 = convolution(channels, width, 1, first)
            self.conv2 = convolution(width, width, 3, second)
            self.conv3 = convolution(width, filters, 1)
            self.bn3 = nn.BatchNorm2d(filters)
        else:
            self.conv1 = convolution(channels, width, 3, stride)
            self.conv2 = convolution(width, width, 3)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.bottleneck = bottleneck
        self.downsample = None
        if stride > 1 or channels != filters:
            self.downsample = nn.Sequential(convolution(channels, filters, 1, stride), nn.BatchNorm2d(filters))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.bottleneck:
            x = self.bn3(self.conv3(x.relu()))
        return (x + shortcut).relu()


class ResNet(nn.Module):
    """[batch, 3, height, width] to logits."""

    def __init__(self, repeats, bottleneck, classes, width=1.0, stride_at="3x3"):
        super().__init__()
        channels = round(64 * width)
        self.conv1, self.bn1 = nn.Conv2d(3, channels, 7, 2, 3, bias=False), nn.BatchNorm2d(channels)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for stage, count in enumerate(repeats, start=1):
            size, blocks = round(64 * width * 2 ** (stage - 1)), []
            for number in range(count):
                stride = 2 if stage > 1 and number == 0 else 1
                blocks.append(Block(channels, size, stride, bottleneck, stride_at))
                channels = 4 * size if bottleneck else size
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(dim=(2, 3)))


class VGG(nn.Module):
    """[batch, 3, height, width] to logits."""

    def __init__(self, repeats, batch_norm, classes, width=1.0):
        super().__init__()
        layers, channels = [], 3
        for block, count in enumerate(repeats):
            filters = round(width * min(64 * 2**block, 512))
            for _ in range(count):
                layers.append(nn.Conv2d(channels, filters, 3, padding=1))
                layers += [nn.BatchNorm2d(filters)] if batch_norm else []
                layers.append(nn.ReLU())
                channels = filters
            layers.append(nn.MaxPool2d(2, 2))
        self.features, hidden = nn.Sequential(*layers), round(4096 * width)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(49 * channels, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, classes),
        )

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def randomize_torch(network, seed=0):
    """Sets all variables, also the batch norms' statistics, to random numbers that keep the signal in a sound range."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_var", ".weight")) and tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.ndim > 1:
            tensor.normal_(0, (2.0 / tensor[0].numel()) ** 0.5, generator=generator)
        elif tensor.dtype.is_floating_point:
            tensor.normal_(0, 0.1, generator=generator)


def logits_of(network, images):
    """Returns the logits of NHWC images in inference."""
    with torch.no_grad():
        return network.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
