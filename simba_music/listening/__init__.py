"""Listening tests: pairs, ballots, votes and what they say."""
