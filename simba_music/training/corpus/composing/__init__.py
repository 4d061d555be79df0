"""Composing: scores from genres, forms, progressions and patterns."""
