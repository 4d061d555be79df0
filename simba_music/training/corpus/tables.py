"""Tables of the composer: instruments, genres, progressions and rhythms, read from `data/`."""

import functools
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from simba_music.conditioning.reading.styles import styles
from simba_music.files import StrictModel

DATA = Path(__file__).parent / "data"


class Instrument(StrictModel):
    """One voice: MIDI program (0-127), comfortable MIDI pitch range, spoken names, timbre."""

    program: int = Field(ge=0, le=127)
    range: tuple[int, int]
    family: str
    kind: Literal["struck", "plucked", "sustained"]
    names: tuple[str, ...]
    also: tuple[str, ...]
    patch: str | None = None
    near: tuple[str, ...] = ()

    @property
    def every_name(self) -> tuple[str, ...]:
        """`names` and `also`."""
        return self.names + self.also

    @property
    def low(self) -> int:
        """Lowest comfortable MIDI pitch."""
        return self.range[0]

    @property
    def high(self) -> int:
        """Highest comfortable MIDI pitch."""
        return self.range[1]


class Genre(StrictModel):
    """How a style is written; the fields are explained at the top of `data/genres.toml`."""

    names: tuple[str, ...]
    tempo: tuple[int, int]
    metres: dict[str, int]
    modes: tuple[str, ...]
    harmony: str
    extended: float = 0.0
    swing: float = 0.0
    loose: float = 0.0
    slow: float = 0.0
    rit: float = 0.0
    small: float
    melody: tuple[str, ...]
    counter: tuple[str, ...] = ()
    chords: tuple[str, ...]
    arpeggio: tuple[str, ...] = ()
    pad: tuple[str, ...] = ()
    bass: tuple[str, ...] = ()
    bass_lines: tuple[str, ...] = ()
    comping: tuple[str, ...]
    grooves: tuple[str, ...] = ()
    drum_chance: float = 1.0
    fills: str = "rock"
    moods_low: tuple[str, ...]
    moods_high: tuple[str, ...]
    uses: tuple[str, ...]
    production: dict[Literal["dry", "room", "hall", "lofi", "live"], int]

    def players(self, role: str) -> tuple[str, ...]:
        """Instruments that may play a role."""
        players: tuple[str, ...] = getattr(self, role)
        return players


def read_table(name: str) -> dict[str, Any]:
    """A file of `data/`."""
    with (DATA / name).open("rb") as file:
        return tomllib.load(file)


@functools.cache
def instruments() -> dict[str, Instrument]:
    """Every instrument by name."""
    return {k: Instrument.model_validate(v) for k, v in read_table("instruments.toml").items()}


@functools.cache
def genres() -> dict[str, Genre]:
    """Every genre by name; what prompts are read with too comes from `conditioning`."""
    shared = {k: v.model_dump(include={"names", "tempo", "modes"}) for k, v in styles().items()}
    return {k: Genre.model_validate(shared[k] | v) for k, v in read_table("genres.toml").items()}


@functools.cache
def progressions() -> dict[str, dict[str, list[str]]]:
    """Progressions by book and mode, a string of one chord a bar."""
    return read_table("harmony.toml")


@functools.cache
def mma_grooves() -> dict[str, dict[str, list[str]]]:
    """Names of mma's grooves by genre and metre."""
    return read_table("mma.toml")


@functools.cache
def patterns() -> dict[str, Any]:
    """Rhythms by section (comping, bass, drums, fills), name and steps a bar."""
    return read_table("patterns.toml")
