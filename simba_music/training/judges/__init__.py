"""Training of the judges: the scorer and the instrument tagger."""
