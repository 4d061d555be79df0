"""Scoring: how well a clip fits its prompt."""
