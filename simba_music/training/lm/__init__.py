"""Training of the language models."""
