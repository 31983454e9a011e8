"""Figures and the HTML page of an evaluation."""
