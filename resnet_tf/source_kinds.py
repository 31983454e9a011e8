"""The kinds of sources that weights can come from; imports no Keras, so a command line can check a source at once."""

# The weights in this package, which saw drawn pictures alone (resnet_tf/weights/drawn.md), and their architecture.
DRAWN, DRAWN_ARCHITECTURE = "drawn", "resnet10_slim"
KINDS = "imagenet, drawn, timm:NAME, hf:OWNER/NAME, https://…#sha256=…, a file, or none"


def is_path(source: str) -> bool:
    """Returns whether a source of weights is a path of the user."""
    return source not in ("imagenet", DRAWN, "none") and not source.startswith(("timm:", "hf:", "http://", "https://"))
