"""Draft of a score: bars with their chords, notes on the grid, and how they become seconds."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pretty_midi

from simba_music.training.corpus.composing.plan import DYNAMICS, Plan, Section, kit_of
from simba_music.training.corpus.composing.theory import Chord
from simba_music.training.corpus.tables import instruments

RITARDANDO = 0.45  # how much longer the last step is than the first when a piece slows down
RITARDANDO_BARS = 2
DOUBLED_S = 0.02
EARLY_STEPS = 0.3


@dataclass(frozen=True)
class Bar:
    """One bar: where it starts (in sixteenths), its section, and its chords with their span."""

    index: int
    start: int
    section: Section
    within: int  # bars since the section's start
    chords: tuple[tuple[int, int, Chord], ...]  # (step, length, chord)

    @property
    def final(self) -> bool:
        """Whether this is the ending."""
        return self.section.name == "ending"

    @property
    def last_of_section(self) -> bool:
        """Whether the next bar starts another section."""
        return self.within == len(self.section.bars) - 1

    def chord_at(self, step: int) -> Chord:
        """The chord that sounds at a step of the bar."""
        return next(c for start, _, c in reversed(self.chords) if start <= step)


class Played(NamedTuple):
    """A note in sixteenths, with its accent in MIDI velocity."""

    start: float
    length: float
    pitch: int
    accent: float


def bars_of(plan: Plan) -> list[Bar]:
    """Every bar of a plan in order."""
    bars: list[Bar] = []
    for section in plan.sections:
        for within, chords in enumerate(section.bars):
            cut = plan.groups[len(plan.groups) // 2] if len(chords) == 2 else plan.steps
            spans = [(0, cut, chords[0])]
            if len(chords) == 2:
                spans.append((cut, plan.steps - cut, chords[1]))
            start = len(bars) * plan.steps
            bars.append(Bar(len(bars), start, section, within, tuple(spans)))
    return bars


class Draft:
    """Collects notes in sixteenths and turns them into a score, humanised."""

    def __init__(self, plan: Plan, rng: random.Random):
        self.plan, self.rng = plan, rng
        self.bars = bars_of(plan)
        self._notes: dict[str, list[tuple[float, float, int, float]]] = {}

    def bars_with(self, role: str) -> Iterator[Bar]:
        """The bars in which a role plays."""
        return (bar for bar in self.bars if role in bar.section.roles)

    def add(
        self, role: str, pitch: int, start: float, length: float, accent: float, level: float
    ) -> None:
        """Note one: `accent` in MIDI velocity, `level` the intensity of the section (0 to 1)."""
        velocity = DYNAMICS[self.plan.dynamics] + accent + 26 * (level - 0.6)
        self._notes.setdefault(role, []).append((start, length, int(pitch), velocity))

    def put(self, role: str, notes: list[Played]) -> None:
        """Other notes for a role in all bars in which it plays, but for the ending."""
        ending = self.bars[-1].start
        self._notes[role] = [note for note in self._notes.get(role, ()) if note[0] >= ending]
        for note in notes:
            # A note that comes a little early belongs to the bar that it leads into.
            at = int(max(0.0, note.start + EARLY_STEPS) // self.plan.steps)
            bar = self.bars[min(len(self.bars) - 1, at)]
            if role in bar.section.roles and not bar.final:
                length = min(note.length, ending - note.start)
                level = bar.section.intensity
                self.add(role, note.pitch, max(0.0, note.start), length, note.accent, level)

    def played(self, role: str) -> Iterator[tuple[float, float, int]]:
        """(start, length, pitch) of a role's notes so far, in sixteenths."""
        return ((start, length, pitch) for start, length, pitch, _ in self._notes.get(role, ()))

    @property
    def _swings(self) -> bool:
        """Whether beats are swung: where they have four sixteenths each."""
        groups = tuple(range(0, self.plan.steps, 4))
        return bool(self.plan.style.swing) and self.plan.groups == groups

    def straightened(self, step: float) -> float:
        """The step whose time, swing included, is `step` sixteenths."""
        if not self._swings:
            return step
        (beat, bent), swing = divmod(step, 4), self.plan.style.swing
        inside = 2 * bent / (2 + swing) if bent < 2 + swing else 4 - 2 * (4 - bent) / (2 - swing)
        return 4 * beat + inside

    def seconds(self, step: float) -> float:
        """Time of a step, with swing inside beats and a ritardando over the last bars."""
        plan, swing = self.plan, self.plan.style.swing
        if self._swings:
            beat, inside = divmod(step, 4)
            bent = inside * (2 + swing) / 2 if inside < 2 else 4 - (4 - inside) * (2 - swing) / 2
            step = 4 * beat + bent
        start = (plan.n_bars - RITARDANDO_BARS) * plan.steps
        time_s = step * plan.step_s
        if plan.ritardando and step > start:
            late = step - start
            # The integral of a step that lengthens linearly, so that time has no jump.
            time_s += RITARDANDO * late * late / (2 * RITARDANDO_BARS * plan.steps) * plan.step_s
        return time_s

    def score(self) -> pretty_midi.PrettyMIDI:
        """The notes as MIDI, one track a part named `role:instrument`."""
        plan, rng = self.plan, self.rng
        score = pretty_midi.PrettyMIDI(initial_tempo=plan.tempo)
        loose_s = plan.style.loose / 1000
        for role, notes in self._notes.items():
            name = plan.lineup[role]
            drums = role == "drums"
            program = kit_of(plan) if drums else instruments()[name].program
            part = pretty_midi.Instrument(program, drums, f"{role}:{name}")
            for start, length, pitch, velocity in sorted(notes):
                # Players are not together to the millisecond; the genre says how loose they are.
                begin = max(0.0, self.seconds(start) + rng.gauss(0, loose_s / 2))
                end = max(begin + 0.06, self.seconds(start + length))
                loudness = round(velocity + rng.gauss(0, 4 if loose_s else 1))
                part.notes.append(pretty_midi.Note(max(12, min(124, loudness)), pitch, begin, end))
            part.notes = _separate(part.notes)
            score.instruments.append(part)
        numerator, denominator = plan.metre.split("/")
        score.time_signature_changes.append(
            pretty_midi.TimeSignature(int(numerator), int(denominator), 0.0)
        )
        return score


def _separate(notes: list[pretty_midi.Note]) -> list[pretty_midi.Note]:
    """Notes that end before the same pitch starts again, as MIDI needs it; doubled ones once."""
    latest: dict[int, pretty_midi.Note] = {}
    kept = []
    for note in sorted(notes, key=lambda n: n.start):
        before = latest.get(note.pitch)
        if before is not None and note.start - before.start < DOUBLED_S:
            continue
        if before is not None:
            before.end = min(before.end, note.start)
        latest[note.pitch] = note
        kept.append(note)
    return kept
