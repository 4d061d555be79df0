"""Grooves: which percussion key sounds on which sixteenth of a bar."""

# General MIDI percussion keys.
KICK, SIDE, SNARE, CLAP, TOM, HAT, PEDAL, OPEN, CRASH, RIDE, SHAKER, CONGA, LOW_CONGA = (
    36,
    37,
    38,
    39,
    45,
    42,
    44,
    46,
    49,
    51,
    70,
    63,
    64,
)

# key -> steps of sixteenths in a 4/4 bar; other metres take the steps that fit.
GROOVES: dict[str, dict[int, tuple[int, ...]]] = {
    "rock": {KICK: (0, 6, 8), SNARE: (4, 12), HAT: (0, 2, 4, 6, 8, 10, 12, 14)},
    "swing": {RIDE: (0, 4, 6, 8, 12, 14), PEDAL: (4, 12), KICK: (0,)},
    "shuffle": {KICK: (0, 8), SNARE: (4, 12), RIDE: (0, 2, 4, 6, 8, 10, 12, 14)},
    "funk": {KICK: (0, 3, 6, 10), SNARE: (4, 12), HAT: tuple(range(16)), OPEN: (14,)},
    "four": {KICK: (0, 4, 8, 12), CLAP: (4, 12), OPEN: (2, 6, 10, 14), HAT: (0, 4, 8, 12)},
    "breakbeat": {KICK: (0, 10), SNARE: (4, 12, 7, 9), HAT: (0, 2, 4, 6, 8, 10, 12, 14)},
    "hiphop": {KICK: (0, 7, 10), SNARE: (4, 12), HAT: (0, 2, 4, 6, 8, 10, 12, 14)},
    "onedrop": {KICK: (8,), SIDE: (8,), HAT: (0, 2, 4, 6, 8, 10, 12, 14)},
    "bossa": {KICK: (0, 6, 8, 14), SIDE: (0, 3, 6, 10, 12), SHAKER: tuple(range(0, 16, 2))},
    "hand": {LOW_CONGA: (0, 8), CONGA: (3, 6, 11, 14), SHAKER: (0, 4, 8, 12)},
    "timpani": {TOM: (0, 8, 14)},
}
