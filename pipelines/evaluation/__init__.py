"""What is computed from a finished run: predictions and metrics."""
