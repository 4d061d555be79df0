"""Language models and the codec: networks, their configs and their checkpoints."""
