"""Training and evaluation; only the command line imports it."""
