"""Streaming: events of both sides at once, and sound while a take is being made."""
