"""The preprocessing of images that a set of weights needs; it is stored with the weights."""

import math
from dataclasses import dataclass, replace

INTERPOLATIONS = ("bilinear", "bicubic")
VIEWS = ("crop", "squeeze", "pad")
CHANNELS = ("rgb", "bgr")
# Images have 8 bits. The bounds are far outside of what any published weights have; beyond them, an image of 224 pixels
# would be cut from one of thousands, or normalized to numbers that a network cannot compute with.
SMALLEST_CROP = 0.1
SMALLEST_DEVIATION, LARGEST_NUMBER = 1e-3, 1e5


@dataclass(frozen=True)
class Preprocessing:
    """The normalization of RGB images in 0 … 255, and the resizing and cropping that the weights were evaluated with.

    Args:
        mean: Value per output channel that is subtracted first.
        deviation: Value per output channel that is divided by.
        channels: Order of the output channels, "rgb" or "bgr".
        crop_fraction: Share of the shorter side that is kept with the view "crop": an image is resized until its
            shorter side is size / crop_fraction pixels, and its centre of size × size pixels is taken.
        interpolation: Kind of interpolation when resizing, "bilinear" or "bicubic".
        view: What the network sees of an image: "crop"; "squeeze", the whole image resized to size × size pixels; or
            "pad", the whole image resized until its longer side is size pixels, with RGB 124, 116, 104 beside it.
    """

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    channels: str = "rgb"
    crop_fraction: float = 0.875
    interpolation: str = "bilinear"
    view: str = "crop"

    def __post_init__(self) -> None:
        """Checks the numbers, because they come from files and from the internet.

        Raises:
            ValueError: They are not a valid preprocessing.
        """
        numbers = (*self.mean, *self.deviation, self.crop_fraction)
        sound = (
            len(self.mean) == len(self.deviation) == 3
            and all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
            and max(map(abs, numbers)) <= LARGEST_NUMBER
            and min(self.deviation) >= SMALLEST_DEVIATION
            and SMALLEST_CROP <= self.crop_fraction <= 1.0
        )
        named = self.channels in CHANNELS and self.interpolation in INTERPOLATIONS and self.view in VIEWS
        if not (sound and named):
            raise ValueError(f"its preprocessing is not understood: {self}")

    def in_rgb(self) -> "Preprocessing":
        """Returns the same normalization for output channels in the order RGB."""
        if self.channels == "rgb":
            return self
        (blue, green, red), (of_blue, of_green, of_red) = self.mean, self.deviation
        return replace(self, mean=(red, green, blue), deviation=(of_red, of_green, of_blue), channels="rgb")

    def normalization(self) -> str:
        """Returns the description of the normalization in words."""
        mean, deviation = (" ".join(f"{value:.6g}" for value in values) for values in (self.mean, self.deviation))
        return f"{self.channels} mean {mean} deviation {deviation}"


# keras.applications.imagenet_utils, mode "caffe": the ResNet v1 and VGG files were converted from Caffe.
CAFFE = Preprocessing(mean=(103.939, 116.779, 123.68), deviation=(1.0, 1.0, 1.0), channels="bgr")

# keras.applications.imagenet_utils, mode "tf", for ResNet v2: the values are in -1 … 1.
TENSORFLOW = Preprocessing(mean=(127.5, 127.5, 127.5), deviation=(127.5, 127.5, 127.5))

# torchvision, timm and Hugging Face use the mean and deviation of ImageNet, resize to 256 and crop the centre of 224.
TORCH = Preprocessing(mean=(0.485 * 255, 0.456 * 255, 0.406 * 255), deviation=(0.229 * 255, 0.224 * 255, 0.225 * 255))

# CIFAR-10's images are used whole; akamaster/pytorch_resnet_cifar10 normalizes them as if they were ImageNet's.
CIFAR = replace(TORCH, crop_fraction=1.0)
