"""What a person sees of a command, and how they stop it."""
