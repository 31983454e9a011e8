"""The kinds of sources that weights can come from; imports no Keras, so a command line can check a source at once."""

KINDS = "imagenet, timm:NAME, hf:OWNER/NAME, https://…#sha256=…, a file, or none"


def is_path(source: str) -> bool:
    """Returns whether a source of weights is a path of the user."""
    return source not in ("imagenet", "none") and not source.startswith(("timm:", "hf:", "http://", "https://"))
