"""Plan of a piece: everything that is decided before the first note."""

import random
from dataclasses import dataclass

from simba_music.training.corpus.genres import GENRES, PROGRESSIONS, Genre

MODES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "pentatonic": (0, 2, 4, 7, 9),
}
KEYS = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
STEPS_PER_BAR = {"4/4": 16, "3/4": 12, "2/4": 8, "6/8": 12}
DYNAMICS = {"soft": 54, "medium": 80, "loud": 108}
DENSITIES = ("sparse", "moderate", "busy")


@dataclass(frozen=True)
class Plan:
    """Everything decided before the first note; `step_s` is a sixteenth in seconds."""

    genre: str
    tempo: int
    metre: str
    key: int
    mode: str
    dynamics: str
    density: str
    n_bars: int
    progression: tuple[int, ...]
    melody: str | None
    chords: str | None
    bass: str | None
    drums: bool
    comping: str

    @property
    def style(self) -> Genre:
        """The genre's entry."""
        return GENRES[self.genre]

    @property
    def steps(self) -> int:
        """Sixteenths in a bar."""
        return STEPS_PER_BAR[self.metre]

    @property
    def step_s(self) -> float:
        """A sixteenth in seconds."""
        return 60.0 / self.tempo / 4


def plan_piece(rng: random.Random) -> Plan:
    """Choose genre, tempo, metre, key, mode, line-up and length (about 6 to 29 s)."""
    genre = rng.choice(sorted(GENRES))
    style = GENRES[genre]
    metre, mode = rng.choice(style.metres), rng.choice(style.modes)
    tempo = rng.randint(*style.tempo)
    bar_s = STEPS_PER_BAR[metre] * 60.0 / tempo / 4
    target_s = rng.choice((rng.uniform(6, 12), rng.uniform(10, 20), rng.uniform(18, 28)))
    n_bars = max(2, min(int(28.0 / bar_s), round(target_s / bar_s)))
    book = PROGRESSIONS[style.harmony]
    second = rng.choice(book) if n_bars >= 8 else ()
    melody, chords = rng.choice(style.melody), rng.choice(style.chords)
    bass: str | None = rng.choice(style.bass)
    drums = style.groove is not None
    lineup: tuple[str | None, str | None, str | None, bool] = (melody, chords, bass, drums)
    if rng.random() < style.lone:
        lineup = rng.choice(
            (
                (melody, None, None, False),
                (None, chords, None, False),
                (melody, chords, None, False),
                (melody, melody if melody == "piano" else None, None, False),
            )
        )
    elif rng.random() < 0.25:
        lineup = (
            (melody, chords, None, drums) if rng.random() < 0.5 else (None, chords, bass, drums)
        )
    return Plan(
        genre=genre,
        tempo=tempo,
        metre=metre,
        key=rng.randrange(12),
        mode=mode,
        dynamics=rng.choice(tuple(DYNAMICS)),
        density=rng.choice(DENSITIES),
        n_bars=n_bars,
        progression=rng.choice(book) + second,
        melody=lineup[0],
        chords=lineup[1],
        bass=lineup[2],
        drums=lineup[3],
        comping=rng.choice(style.comping),
    )
