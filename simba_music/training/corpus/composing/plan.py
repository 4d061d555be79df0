"""Plan of a piece: everything that is decided before the first note."""

import random
import zlib
from dataclasses import dataclass

from simba_music.training.corpus.composing.theory import BRIGHT, Chord, chord
from simba_music.training.corpus.tables import Genre, genres, instruments, progressions

METRES = {  # sixteenths a bar, and where its groups start
    "4/4": (16, (0, 4, 8, 12)),
    "3/4": (12, (0, 4, 8)),
    "2/4": (8, (0, 4)),
    "6/8": (12, (0, 6)),
    "5/4": (20, (0, 4, 8, 12, 16)),
    "7/8": (14, (0, 4, 8)),
}
DYNAMICS = {"soft": 56, "medium": 80, "loud": 106}  # MIDI velocity
DENSITIES = ("sparse", "moderate", "busy")
ARTICULATIONS = {"legato": 1.02, "detached": 0.8, "staccato": 0.45}  # share of a note that sounds
ROLES = ("melody", "counter", "chords", "arpeggio", "pad", "bass", "drums")
MAX_PIECE_S = 100.0
# General MIDI drum kits (programs of bank 128), by groove.
KITS = {
    "house": 24, "techno": 24, "electro": 25, "trap": 25, "swing": 32, "brushes": 40, "metal": 16,
    "march": 48, "taiko": 48,
}  # fmt: skip


@dataclass(frozen=True)
class Section:
    """Part of the form: its bars of chords, how full it is (0 to 1), and who plays."""

    name: str
    bars: tuple[tuple[Chord, ...], ...]
    intensity: float
    roles: frozenset[str]


@dataclass(frozen=True)
class Plan:
    """Everything decided before the first note."""

    seed: int
    split: str
    genre: str
    tempo: int
    metre: str
    key: int
    mode: str
    dynamics: str
    density: str
    articulation: str
    lineup: dict[str, str]  # role -> instrument; "drum kit" for the drums
    comping: str
    bass_line: str
    groove: str
    ritardando: bool
    sections: tuple[Section, ...]
    accompaniment: str = "own"  # or what plays it, and how

    @property
    def style(self) -> Genre:
        """The genre's table."""
        return genres()[self.genre]

    @property
    def steps(self) -> int:
        """Sixteenths in a bar."""
        return METRES[self.metre][0]

    @property
    def groups(self) -> tuple[int, ...]:
        """Steps at which the bar's beats or groups start."""
        return METRES[self.metre][1]

    @property
    def step_s(self) -> float:
        """A sixteenth in seconds."""
        return sixteenth_s(self.tempo, self.metre)

    @property
    def n_bars(self) -> int:
        """Bars of the whole piece."""
        return sum(len(section.bars) for section in self.sections)


def sixteenth_s(tempo: int, metre: str) -> float:
    """A sixteenth in seconds at a tempo in beats a minute; in 6/8 a beat is a dotted quarter."""
    return 60.0 / tempo / (6 if metre == "6/8" else 4)


def kit_of(plan: Plan) -> int:
    """General MIDI drum kit of a piece."""
    return KITS.get(plan.groove, 0)


def split_of(seed: int) -> str:
    """train, valid, test or compositional (88, 5, 5, 2 %), by piece."""
    # By the seed alone: a piece is in one split in every corpus that holds it.
    value = random.Random(f"split{seed}").random()
    limits = ((0.88, "train"), (0.93, "valid"), (0.98, "test"), (1.0, "compositional"))
    return next(name for limit, name in limits if value < limit)


def held_out_pair(instrument: str, genre: str) -> bool:
    """Whether this instrument meets this genre in the compositional split only.

    One in six of the pairs that no genre's table lists.
    """
    style = genres()[genre]
    if any(instrument in style.players(role) for role in ROLES[:-1]):
        return False
    # Not `hash`, which changes from run to run for texts.
    return zlib.crc32(f"{instrument}/{genre}".encode()) % 6 == 0


def _guest(rng: random.Random, genre: str, held_out: bool) -> str:
    """A melody instrument from outside the genre's table."""
    families = ("bass", "pad", "percussion", "choir")
    pool = [n for n, i in instruments().items() if i.family not in families]
    pool = [n for n in pool if n not in genres()[genre].melody]
    return rng.choice([n for n in pool if held_out_pair(n, genre) == held_out])


def _lineup(rng: random.Random, genre: str, split: str) -> dict[str, str]:
    """Who plays what: a full band, or one to three players."""
    style, lineup = genres()[genre], dict[str, str]()
    small = rng.random() < style.small
    for role in ROLES[:-1]:
        chance = {"counter": 0.35, "arpeggio": 0.35, "pad": 0.45}.get(role, 0.93)
        players = style.players(role)
        if players and (small or rng.random() < chance):
            lineup[role] = rng.choice(players)
    if style.grooves and rng.random() < style.drum_chance * 0.95:
        lineup["drums"] = "drum kit"
    if split == "compositional" or rng.random() < 0.12:
        lineup["melody"] = _guest(rng, genre, split == "compositional")
    if small:
        kept = rng.choice(
            (
                ("melody",),
                ("melody", "chords"),
                ("melody", "arpeggio"),
                ("chords",),
                ("arpeggio",),
                ("melody", "counter"),
                ("melody", "chords", "bass"),
                ("melody", "bass"),
                ("melody", "drums"),
            )
        )
        if split == "compositional":
            kept = ("melody", *kept)
        lineup = {r: i for r, i in lineup.items() if r in kept} or lineup
    if not {"melody", "chords", "arpeggio"} & set(lineup):
        lineup["melody"] = rng.choice(style.melody)
    if lineup.get("counter") == lineup.get("melody"):
        lineup.pop("counter", None)
    return {role: lineup[role] for role in ROLES if role in lineup}


def _harmony(rng: random.Random, style: Genre, mode: str, slow: bool) -> list[tuple[Chord, ...]]:
    """One progression as bars of one or two chords."""
    text = rng.choice(progressions()[style.harmony][mode])
    bars = []
    for bar in text.split():
        symbols = bar.split(",")
        bars.append(tuple(chord(s, rng.random() < style.extended) for s in symbols))
    return [bar for bar in bars for _ in range(2)] if slow else bars


def _target_s(rng: random.Random) -> float:
    """Length to aim for: a jingle, a clip, or a longer piece."""
    return rng.choice(
        (rng.uniform(5, 11), *(rng.uniform(11, 29) for _ in range(5)))
        + tuple(rng.uniform(30, 95) for _ in range(3))
    )


def _form(rng: random.Random, n_bars: int, phrase: int, lineup: dict[str, str]) -> list[str]:
    """Section names that fill about `n_bars` bars, four or more a section, without the ending."""
    many = len(lineup) > 2
    units = max(1, round(n_bars / phrase))
    intro = ["intro"] if many and units >= 2 and rng.random() < 0.5 else []
    if units == 1:
        return ["A"]
    bodies = {
        2: (["A", "A'"], ["A", "B"]),
        3: (["A", "B", "A'"], ["A", "A'", "B"]),
        4: (["A", "A'", "B", "A'"], ["A", "B", "A", "B"]),
        5: (["A", "A'", "B", "B", "A'"], ["A", "B", "A'", "C", "A"]),
    }
    cycle = ["A", "B", "A'", "C", "A", "B", "A'", "B", "A"]
    body = list(rng.choice(bodies[units])) if units in bodies else cycle[:units]
    return intro + (body[:-1] if intro and len(body) > 2 else body)


def _cast(rng: random.Random, name: str, lineup: dict[str, str]) -> frozenset[str]:
    """Who plays in a section: fewer in an intro, all in a B."""
    roles = set(lineup)
    if name == "intro":
        roles -= {"melody", "counter"}
        if "drums" in roles and rng.random() < 0.5 and len(roles) > 1:
            roles.discard("drums")
        if len(roles) > 2 and rng.random() < 0.5:
            roles.discard("bass")
    elif name == "A" and len(roles) > 3 and rng.random() < 0.5:
        roles -= {"counter"}
    elif name == "C" and len(roles) > 3:
        roles -= {rng.choice(sorted(roles & {"drums", "melody", "pad", "arpeggio"}) or ["pad"])}
    return frozenset(roles or lineup)


def _sections(
    rng: random.Random, style: Genre, mode: str, n_bars: int, bar_s: float, lineup: dict[str, str]
) -> tuple[Section, ...]:
    slow = rng.random() < style.slow
    first, second = (_harmony(rng, style, mode, slow) for _ in range(2))
    phrase = len(first)
    if phrase > n_bars:  # a jingle: the start of the progression, then the tonic
        first, phrase = first[: max(2, n_bars - 1)], max(2, n_bars - 1)
    elif phrase * 2 * bar_s < 14 and n_bars >= 2 * phrase:
        first, second, phrase = first * 2, second * 2, phrase * 2
    third = (_harmony(rng, style, mode, slow) * phrase)[:phrase]
    bars = {"intro": first[: max(2, phrase // 2)], "A": first, "A'": first, "B": second, "C": third}
    level = {"intro": 0.35, "A": 0.6, "A'": 0.75, "B": 0.9, "C": 0.5}
    sections = [
        Section(name, tuple(bars[name]), level[name], _cast(rng, name, lineup))
        for name in _form(rng, n_bars - 1, phrase, lineup)
    ]
    tonic = chord("I" if mode in BRIGHT else "i")
    if style.harmony == "power":
        tonic = chord("i5")
    return (*sections, Section("ending", ((tonic,),), 0.8, sections[-1].roles))


def plan_piece(seed: int) -> tuple[Plan, random.Random]:
    """Decide on a piece: genre, tempo, metre, key, mode, line-up, form and harmony.

    Returns:
        The plan and the generator that goes on to write the notes.
    """
    rng = random.Random(seed)
    split = split_of(seed)
    genre = rng.choice(sorted(genres()))
    style = genres()[genre]
    metre = rng.choices(list(style.metres), list(style.metres.values()))[0]
    mode, tempo = rng.choice(style.modes), rng.randint(*style.tempo)
    if metre == "6/8":
        tempo = max(44, round(tempo * 0.6))
    bar_s = METRES[metre][0] * sixteenth_s(tempo, metre)
    lineup = _lineup(rng, genre, split)
    key = rng.randrange(12)
    density = rng.choices(DENSITIES, (2, 4, 2))[0]
    articulation = rng.choices(tuple(ARTICULATIONS), (5, 3, 1))[0]
    dynamics = rng.choice(tuple(DYNAMICS))
    n_bars = max(3, min(round(_target_s(rng) / bar_s), int(MAX_PIECE_S / bar_s)))
    plan = Plan(
        seed=seed,
        split=split,
        genre=genre,
        tempo=tempo,
        metre=metre,
        key=key,
        mode=mode,
        dynamics=dynamics,
        density=density,
        articulation=articulation,
        lineup=lineup,
        comping=rng.choice(style.comping),
        bass_line=rng.choice(style.bass_lines) if style.bass_lines else "",
        groove=rng.choice(style.grooves) if style.grooves else "",
        ritardando=rng.random() < style.rit,
        sections=_sections(rng, style, mode, n_bars, bar_s, lineup),
    )
    return plan, rng
