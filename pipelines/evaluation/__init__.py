"""Everything that is computed from a finished run: predictions, metrics, and a check of the exported model."""
