"""How the pixels of a file reach the network."""
