"""Everything that a person sees of a running command, and how they stop it."""
