"""The experiments of the papers as data, and what runs and shows them."""
