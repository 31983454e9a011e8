"""Figures and HTML pages: of an evaluation, of an audit, and of a range test."""
