"""Reading: what the line under the prompt says is read from it, drawn, and cannot be done."""

from simba_music.conditioning.reading.prompt import Reading
from simba_music.ui.look.words import say

Chips = list[dict[str, str]]  # `text` and its `kind`: read, without, drawn, cannot or note


def chips(reading: Reading) -> Chips:
    """A reading in a few words each."""
    read = [
        reading.key,
        "" if reading.tempo is None else say("read", "tempo", n=f"{reading.tempo:g}"),
        reading.metre,
        " ".join(reading.chords),
        *reading.wanted,
    ]
    drawn = [
        say("read", "tempo", n=f"{value:g}") if isinstance(value, float | int) else value
        for value in reading.drawn.values()
    ]
    found = {
        "read": read,
        "without": [say("read", "without", what=what) for what in reading.denied],
        "drawn": [say("read", "drawn", what=what) for what in drawn],
        "cannot": [say("read", "cannot", what=what) for what in reading.cannot],
        "note": [reading.note],
    }
    return [{"kind": kind, "text": text} for kind, texts in found.items() for text in texts if text]
