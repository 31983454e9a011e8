"""From a folder or a CSV to a manifest, and from a manifest to a stream of uint8 images."""
