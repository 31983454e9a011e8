"""The run directory: its files, how they are written, and who may write them."""
