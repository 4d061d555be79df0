"""Blind test: its page and player, and the page of what its votes say."""
