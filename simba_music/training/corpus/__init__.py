"""Composed corpus: scores, rendered audio, facts and captions."""
