"""What is decided for a training, and why."""
