"""What leaves a run: models for other engines, and what serves them."""
