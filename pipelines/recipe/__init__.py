"""Decides the settings of a training, each with its reason."""
