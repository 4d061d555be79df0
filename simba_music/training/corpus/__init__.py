"""Corpus: composed scores or own recordings, their audio, facts and captions."""
