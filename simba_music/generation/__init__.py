"""Generation: from a checked request to clips."""
