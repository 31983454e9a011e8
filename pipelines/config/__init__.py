"""What a user may set: one description per setting, from which checks, help and the options page are made."""
