"""Engines: ways to run a language model's decode loop, behind one interface."""
