"""The table of the published ImageNet weights that `imagenet` stands for; this module imports no Keras."""

from dataclasses import dataclass, replace

from resnet_tf.weights.preprocessing import CAFFE, TENSORFLOW, TORCH, Preprocessing

_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/"
_HUB = "https://huggingface.co/"


@dataclass(frozen=True)
class RemoteFile:
    """A file to download, with the hash that it must have.

    Args:
        url: Address of the file.
        name: Name of the file in the local cache and on a mirror.
        digest: Hash of the file's bytes, in hexadecimal.
        algorithm: Kind of the hash, "sha256", or "md5" if the publisher gives nothing better.
    """

    url: str
    name: str
    digest: str
    algorithm: str = "sha256"


@dataclass(frozen=True)
class PublishedWeights:
    """One set of ImageNet weights.

    Args:
        file: File with the classifier.
        file_without_top: File without the classifier, if that is published too.
        preprocessing: Preprocessing that the images need.
        top1: Published accuracy on ImageNet's validation images, a share; None if it is not published.
        evaluated: How the accuracy was measured, if not at 224 pixels with this preprocessing.
        licence: Licence of the weights.
        reference: Source that states licence and accuracy.
    """

    file: RemoteFile
    preprocessing: Preprocessing
    top1: float | None
    licence: str
    reference: str
    file_without_top: RemoteFile | None = None
    evaluated: str = ""


def _keras(
    folder: str,
    name: str,
    md5: str,
    md5_without_top: str,
    top1: float,
    preprocessing: Preprocessing = CAFFE,
    licence: str = "MIT (Kaiming He)",
) -> PublishedWeights:
    """Returns weights of keras.applications, with the MD5 hashes that it checks."""

    def file(ending: str, digest: str) -> RemoteFile:
        file_name = f"{name}_weights_tf_dim_ordering_tf_kernels{ending}.h5"
        return RemoteFile(f"{_KERAS}{folder}/{file_name}", file_name, digest, "md5")

    return PublishedWeights(
        file("", md5),
        preprocessing,
        top1,
        licence,
        "https://keras.io/api/applications/",
        file_without_top=file("_notop", md5_without_top),
    )


_VGG_LICENCE = "CC BY 4.0 (Visual Geometry Group, Oxford)"
_V2_LICENCE = "BSD (Facebook)"

IMAGENET: dict[str, PublishedWeights] = {
    "resnet18": PublishedWeights(
        RemoteFile(
            f"{_HUB}timm/resnet18.a1_in1k/resolve/b9c542640ca04a6acab6e1ecff124a2d6ef1951d/model.safetensors",
            "resnet18.a1_in1k.safetensors",
            "80c49dee3da4822c009c5a7fe591e9223c5a2cfcf95a4067ca4dfb5a7b89c612",
        ),
        replace(TORCH, crop_fraction=0.95, interpolation="bicubic"),
        0.73158,
        "Apache-2.0 (Ross Wightman, timm)",
        "https://huggingface.co/timm/resnet18.a1_in1k, results/results-imagenet.csv of pytorch-image-models",
        evaluated="288 pixels, uncropped",
    ),
    "resnet34": PublishedWeights(
        RemoteFile(
            f"{_HUB}microsoft/resnet-34/resolve/main/model.safetensors",
            "microsoft-resnet-34.safetensors",
            "1096166c7cf216a7320a6b67b754b1776b99205a44d070c6cb52429af2d136bb",
        ),
        replace(TORCH, interpolation="bicubic"),
        None,
        "Apache-2.0 (Microsoft)",
        "https://huggingface.co/microsoft/resnet-34",
    ),
    "resnet50": _keras(
        "resnet", "resnet50", "2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626", 0.749
    ),
    "resnet101": _keras(
        "resnet", "resnet101", "f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21", 0.764
    ),
    "resnet152": _keras(
        "resnet", "resnet152", "100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c", 0.766
    ),
    "resnet50v2": _keras(
        "resnet",
        "resnet50v2",
        "3ef43a0b657b3be2300d5770ece849e0",
        "fac2f116257151a9d068a22e544a4917",
        0.760,
        TENSORFLOW,
        _V2_LICENCE,
    ),
    "resnet101v2": _keras(
        "resnet",
        "resnet101v2",
        "6343647c601c52e1368623803854d971",
        "c0ed64b8031c3730f411d2eb4eea35b5",
        0.772,
        TENSORFLOW,
        _V2_LICENCE,
    ),
    "resnet152v2": _keras(
        "resnet",
        "resnet152v2",
        "a49b44d1979771252814e80f8ec446f9",
        "ed17cf2e0169df9d443503ef94b23b33",
        0.780,
        TENSORFLOW,
        _V2_LICENCE,
    ),
    "vgg16": _keras(
        "vgg16",
        "vgg16",
        "64373286793e3c8b2b4e3219cbf3544b",
        "6d6bbae143d832006294945121d1f1fc",
        0.713,
        licence=_VGG_LICENCE,
    ),
    "vgg19": _keras(
        "vgg19",
        "vgg19",
        "cbe5617147190e668d6c5d5026f83318",
        "253f8cb515780f3b799900260a226db6",
        0.713,
        licence=_VGG_LICENCE,
    ),
}
