"""Captioning: facts to captions."""
