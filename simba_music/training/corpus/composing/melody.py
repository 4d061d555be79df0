"""Melodies: motifs that return and vary over the chords, and second voices under them."""

import random
from dataclasses import dataclass

from simba_music.training.corpus.composing.draft import Bar, Draft
from simba_music.training.corpus.composing.plan import ARTICULATIONS, Plan
from simba_music.training.corpus.composing.theory import pitches, scale_over
from simba_music.training.corpus.tables import instruments

# Chance of a note on a group's start, on other eighths, on sixteenths.
RATES = {"sparse": (0.5, 0.1, 0.0), "moderate": (0.85, 0.4, 0.04), "busy": (0.95, 0.8, 0.3)}
SHORTEST_S = 0.11  # between two onsets
PHRASES = ("abac", "abab", "aabc", "abcd")
CONTOUR = (-3, -2, -1, -1, -1, 0, 1, 1, 1, 2, 3)


@dataclass(frozen=True)
class Motif:
    """A bar's worth of melody: onsets in sixteenths, and scale steps from note to note."""

    onsets: tuple[int, ...]
    moves: tuple[int, ...]


def make_motif(rng: random.Random, plan: Plan) -> Motif:
    """A rhythm by density and metre, and a contour that mostly goes by step."""
    group, eighth, sixteenth = RATES[plan.density]
    onsets: list[int] = []
    for step in range(plan.steps):
        chance = group if step in plan.groups else eighth if step % 2 == 0 else sixteenth
        near = onsets and (step - onsets[-1]) * plan.step_s < SHORTEST_S
        if not near and rng.random() < chance:
            onsets.append(step)
    if not onsets:
        onsets = [0]
    moves = [0]
    for _ in onsets[1:]:
        turned = -1 if moves[-1] > 1 else 1 if moves[-1] < -1 else 0  # a leap is answered
        moves.append(turned or rng.choice(CONTOUR))
    return Motif(tuple(onsets), tuple(moves))


def _cadence(motif: Motif) -> Motif:
    """The motif's start, then a long note."""
    keep = max(1, min(3, len(motif.onsets) // 2))
    return Motif(motif.onsets[:keep], motif.moves[:keep])


def _ornamented(rng: random.Random, motif: Motif, plan: Plan) -> Motif:
    """The motif with neighbour notes in its gaps."""
    onsets, moves = list[int](), list[int]()
    for i, (onset, move) in enumerate(zip(motif.onsets, motif.moves, strict=True)):
        until = motif.onsets[i + 1] if i + 1 < len(motif.onsets) else plan.steps
        onsets.append(onset)
        moves.append(move)
        if until - onset >= 4 and rng.random() < 0.5:
            turn = rng.choice((-1, 1))
            onsets += [until - 2]
            moves += [turn]
            if i + 1 < len(motif.onsets):
                motif = Motif(
                    motif.onsets,
                    (*motif.moves[: i + 1], motif.moves[i + 1] - turn, *motif.moves[i + 2 :]),
                )
    return Motif(tuple(onsets), tuple(moves))


class Line:
    """One voice that remembers where it is."""

    def __init__(self, draft: Draft, role: str):
        self.draft, self.role = draft, role
        voice = instruments()[draft.plan.lineup[role]]
        middle = (voice.low + voice.high) / 2
        # Melodies sit in the upper middle of an instrument, near the middle of the staff.
        wish = 69 + draft.rng.choice((-4, 0, 0, 3, 7)) if role == "melody" else 64
        half = min(10, (voice.high - voice.low) // 2)
        self.centre = max(voice.low + half, min(voice.high - half, (2 * wish + middle) / 3))
        self.low = max(voice.low, round(self.centre) - 11)
        self.high = min(voice.high, round(self.centre) + 12)
        self.pitch = round(self.centre)

    def play(self, bar: Bar, motif: Motif, lift: int) -> None:
        """Realise a motif over a bar's chords, `lift` semitones above the usual place."""
        plan = self.draft.plan
        low, high = self.low + lift, self.high + lift
        top = instruments()[plan.lineup[self.role]].high
        low, high = min(low, top - 12), min(high, top)
        sounds = ARTICULATIONS[plan.articulation]
        for i, (onset, move) in enumerate(zip(motif.onsets, motif.moves, strict=True)):
            harmony = bar.chord_at(onset)
            scale = pitches(scale_over(harmony, plan.mode), plan.key, low, high)
            index = min(range(len(scale)), key=lambda k: abs(scale[k] - self.pitch)) + move
            index = -index if index < 0 else index
            index = 2 * (len(scale) - 1) - index if index >= len(scale) else index
            pitch = scale[max(0, min(index, len(scale) - 1))]
            if onset in plan.groups or i == len(motif.onsets) - 1:
                tones = pitches(harmony.classes, plan.key, low, high)
                if tones:
                    pitch = min(tones, key=lambda p: (abs(p - pitch), abs(p - self.centre - lift)))
            until = motif.onsets[i + 1] if i + 1 < len(motif.onsets) else plan.steps
            length = (until - onset) * (sounds if until - onset < 8 else max(0.85, sounds - 0.1))
            accent = 8 if onset == 0 else 3 if onset in plan.groups else 0
            self.draft.add(
                self.role, pitch, bar.start + onset, length, accent, bar.section.intensity
            )
            self.pitch = pitch

    def finish(self, bar: Bar) -> None:
        """The tonic, nearest to where the line is, held."""
        tonics = pitches((0,), self.draft.plan.key, self.low - 5, self.high)
        pitch = min(tonics, key=lambda p: abs(p - self.pitch))
        self.draft.add(self.role, pitch, bar.start, self.draft.plan.steps * 0.95, 4, 0.7)


def write_melody(draft: Draft) -> None:
    """The tune of every section; A' repeats A with ornaments, B has motifs of its own, higher."""
    plan, rng, line = draft.plan, draft.rng, Line(draft, "melody")
    material: dict[str, dict[str, Motif]] = {}
    shapes: dict[str, str] = {}
    for section in dict.fromkeys(s.name[0] for s in plan.sections):
        first = make_motif(rng, plan)
        material[section] = {
            "a": first,
            "b": make_motif(rng, plan),
            "c": _cadence(first),
            "d": _cadence(make_motif(rng, plan)),
        }
        shapes[section] = rng.choice(PHRASES)
    for bar in draft.bars_with("melody"):
        if bar.final:
            line.finish(bar)
            continue
        motifs, shape = material[bar.section.name[0]], shapes[bar.section.name[0]]
        label = shape[bar.within % 4]
        if bar.last_of_section:
            label = "c"
        motif = motifs[label]
        if bar.section.name == "A'" and label in "ab":
            motif = _ornamented(rng, motif, plan)
        line.play(bar, motif, 4 if bar.section.name == "B" else 0)


def write_counter(draft: Draft) -> None:
    """A second voice: thirds under the tune, or long guide tones (thirds and sevenths)."""
    plan, line = draft.plan, Line(draft, "counter")
    tune = {start: (length, pitch) for start, length, pitch in draft.played("melody")}
    in_thirds = bool(tune) and draft.rng.random() < 0.5
    for bar in draft.bars_with("counter"):
        if bar.final:
            line.finish(bar)
            continue
        if in_thirds:
            for start, (length, pitch) in tune.items():
                if bar.start <= start < bar.start + plan.steps and length >= 1.5:
                    _third_below(draft, line, bar, start, length, pitch)
            continue
        for step, length, harmony in bar.chords:
            guides = [harmony.classes[1], *harmony.classes[3:4]]
            near = pitches(tuple(guides), plan.key, line.low, line.high)
            line.pitch = min(near, key=lambda p: abs(p - line.pitch))
            draft.add(
                "counter",
                line.pitch,
                bar.start + step,
                length * 0.97,
                -6,
                bar.section.intensity,
            )


def _third_below(
    draft: Draft, line: Line, bar: Bar, start: float, length: float, pitch: int
) -> None:
    plan = draft.plan
    harmony = bar.chord_at(int(start) - bar.start)
    scale = pitches(scale_over(harmony, plan.mode), plan.key, pitch - 9, pitch - 2)
    if not scale:
        return
    below = scale[-2] if len(scale) > 1 and pitch - scale[-1] < 3 else scale[-1]
    voice = instruments()[plan.lineup["counter"]]
    while below < voice.low:
        below += 12
    while below > voice.high:
        below -= 12
    draft.add("counter", below, start, length, -8, bar.section.intensity)
