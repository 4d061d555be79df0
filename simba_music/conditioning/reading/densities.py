"""Densities: whether a prompt asks for few notes or many."""

import re

from simba_music.conditioning.reading.denials import asked_for

DENSITIES = ("sparse", "moderate", "busy")
# Not "simple" and "complex", which say as much of melodies and harmonies; nor what a place is.
_WORDS = {
    "sparse": r"sparse(ly)?|bare(?=\s+(arrangement|accompaniment|texture))|(very\s+)?few\s+notes"
    r"|stripped[\s-]+(down|back)|minimalistic?|minimal(?=\s+(arrangement|accompaniment|texture"
    r"|playing|music))|lots?\s+of\s+space",
    "busy": r"(busy|dense)(?!\s+(street|city|caf[eé]|day|road|market|town|forest|fog|jungle))"
    r"|densely|intricate(ly)?|hectic|frantic|elaborate|many\s+notes|virtuosic|shredding",
}  # fmt: skip
_PATTERNS = {name: re.compile(rf"(?<!\w)({words})(?!\w)", re.I) for name, words in _WORDS.items()}


def named_density(prompt: str) -> str | None:
    """The density that a prompt asks for; None if none, or both."""
    text = asked_for(prompt)
    found = [name for name, pattern in _PATTERNS.items() if pattern.search(text)]
    return found[0] if len(found) == 1 else None
