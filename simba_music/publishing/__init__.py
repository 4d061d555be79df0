"""Publishing: checkpoints, Spaces, datasets and the report's tables."""
