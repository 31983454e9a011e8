"""Runs a training, from its plan to its last checkpoint."""
