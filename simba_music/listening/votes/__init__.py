"""Votes: what a browser sends, whether it counts and when it is final, what is preferred openly."""
