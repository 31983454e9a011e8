"""Which images there are: from a folder or a CSV to a manifest, every file looked at."""
