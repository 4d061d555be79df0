"""Accompaniment: comped chords, arpeggios, pads, bass lines and walking bass."""

import random

from simba_music.training.corpus.composing.draft import Bar, Draft
from simba_music.training.corpus.composing.plan import Plan
from simba_music.training.corpus.composing.theory import Chord, pitches, scale_over, voicing
from simba_music.training.corpus.tables import instruments, patterns

STRUMMED_S = 0.012  # between the strings of a strummed chord
FASTEST_S = 0.095  # notes of an arpeggio


def hits(text: str) -> list[tuple[int, int, str]]:
    """(step, length, letter) of a rhythm such as `x--.x-..`."""
    found: list[tuple[int, int, str]] = []
    for step, letter in enumerate(text):
        if letter == "-" and found:
            start, length, kind = found[-1]
            if start + length == step:
                found[-1] = (start, length + 1, kind)
        elif letter not in ".-":
            found.append((step, 1, letter))
    return found


def rhythm(
    plan: Plan, section: str, name: str, rng: random.Random, letter: str
) -> list[tuple[int, int, str]]:
    """A rhythm of a section of the table for this metre; group starts where it has none."""
    texts = patterns()[section].get(name, {}).get(str(plan.steps))
    if texts:
        return hits(rng.choice(texts))
    ends = (*plan.groups[1:], plan.steps)
    return [(start, end - start, letter) for start, end in zip(plan.groups, ends, strict=True)]


def _span(name: str, centre: int) -> tuple[int, int]:
    """Range of an instrument's chords: two octaves around `centre` that it can play."""
    voice = instruments()[name]
    low = max(voice.low, min(centre - 11, voice.high - 16))
    return low, max(low + 12, min(voice.high, centre + 11))


def _voices(plan: Plan) -> int:
    """Notes of a chord: fewer for instruments of one voice."""
    family = instruments()[plan.lineup["chords"]].family
    return 3 if family in ("brass", "woodwind", "reeds", "strings") else 4


def write_chords(draft: Draft) -> None:
    """Comped chords in the genre's rhythm, voices led smoothly."""
    plan, rng = draft.plan, draft.rng
    low, high = _span(plan.lineup["chords"], 60)
    count, previous = _voices(plan), tuple[int, ...]()
    section_rhythms: dict[str, list[tuple[int, int, str]]] = {}
    strummed = instruments()[plan.lineup["chords"]].family == "guitar"
    for bar in draft.bars_with("chords"):
        if bar.section.name not in section_rhythms:
            section_rhythms[bar.section.name] = rhythm(plan, "comping", plan.comping, rng, "x")
        events = section_rhythms[bar.section.name]
        if bar.final:
            events = [(0, plan.steps, "x")]
        if plan.density == "sparse" and not bar.final and len(events) > 4:
            events = events[::2]
        if plan.comping in ("sustain", "block"):  # held chords follow every change
            events += [
                (s, length, "x") for s, length, _ in bar.chords if s not in starts_of(events)
            ]
            events = cut_at(sorted(events), {step for step, _, _ in bar.chords})
        current: tuple[Chord, tuple[int, ...]] | None = None
        for step, length, _ in events:
            harmony = bar.chord_at(step)
            if current is None or current[0] != harmony:
                previous = voicing(harmony, plan.key, low, high, previous, count)
                current = (harmony, previous)
            gap = STRUMMED_S / plan.step_s if strummed else 0.0
            down = step % 4 == 0
            for i, pitch in enumerate(previous if down else reversed(previous)):
                accent = -6 + (4 if step in plan.groups else -3)
                start = bar.start + step + i * gap
                draft.add("chords", pitch, start, length * 0.96, accent, bar.section.intensity)


def starts_of(events: list[tuple[int, int, str]]) -> set[int]:
    """Steps at which something starts."""
    return {step for step, _, _ in events}


def cut_at(events: list[tuple[int, int, str]], steps: set[int]) -> list[tuple[int, int, str]]:
    """Events that end where one of `steps` comes."""
    out = []
    for step, length, letter in events:
        later = [s for s in steps if step < s < step + length]
        out.append((step, (min(later) - step) if later else length, letter))
    return out


def write_arpeggio(draft: Draft) -> None:
    """Broken chords: up, down, up and down, or Alberti, in eighths or sixteenths."""
    plan, rng = draft.plan, draft.rng
    name = plan.lineup["arpeggio"]
    low, high = _span(name, 60 if "chords" not in plan.lineup else 67)
    shape = rng.choice(("up", "down", "up-down", "alberti"))
    stride = 1 if plan.step_s >= FASTEST_S and plan.density != "sparse" else 2
    if plan.density == "busy" and plan.step_s * 2 < 0.3 and plan.step_s >= 0.08:
        stride = 1
    previous = tuple[int, ...]()
    for bar in draft.bars_with("arpeggio"):
        for step, length, harmony in bar.chords:
            previous = voicing(harmony, plan.key, low, high, previous, 4)
            if bar.final:
                for i, pitch in enumerate(previous):
                    draft.add("arpeggio", pitch, bar.start + i * 0.5, length * 0.9, 0, 0.7)
                continue
            order = _order(shape, previous, instruments()[name].high)
            for k, at in enumerate(range(step, step + length, stride)):
                accent = 4 if at in plan.groups else -6
                pitch = order[k % len(order)]
                draft.add(
                    "arpeggio", pitch, bar.start + at, stride * 1.1, accent, bar.section.intensity
                )


def _order(shape: str, chord: tuple[int, ...], top: int) -> list[int]:
    if shape == "alberti":
        return [chord[0], chord[-1], chord[len(chord) // 2], chord[-1]]
    full = [*chord, chord[0] + 12] if chord[0] + 12 <= top and len(chord) < 4 else list(chord)
    if shape == "down":
        return full[::-1]
    return full + full[-2:0:-1] if shape == "up-down" else full


def write_pad(draft: Draft) -> None:
    """Held chords; a chord that stays is held on."""
    plan = draft.plan
    low, high = _span(plan.lineup["pad"], 58)
    previous, held = tuple[int, ...](), list[tuple[float, float, tuple[int, ...], float]]()
    for bar in draft.bars_with("pad"):
        for step, length, harmony in bar.chords:
            notes = voicing(harmony, plan.key, low, high, previous, 3)
            start: float = bar.start + step
            if held and held[-1][2] == notes and held[-1][0] + held[-1][1] == start:
                held[-1] = (held[-1][0], held[-1][1] + length, notes, held[-1][3])
            else:
                held.append((start, length, notes, bar.section.intensity))
            previous = notes
    for start, span, notes, level in held:
        for pitch in notes:
            draft.add("pad", pitch, start, span * 0.99, -10, level)


def write_bass(draft: Draft) -> None:
    """The genre's bass line; walking bass is made up as it goes."""
    plan, rng = draft.plan, draft.rng
    voice = instruments()[plan.lineup["bass"]]
    low, high = voice.low, min(voice.high, voice.low + 21)
    lines: dict[str, list[tuple[int, int, str]]] = {}
    root = low + 7

    def near_root(harmony: Chord, pitch: int) -> int:
        roots = pitches((harmony.root,), plan.key, low, max(high, low + 11))
        return min(roots, key=lambda p: abs(p - pitch))

    for bar in draft.bars_with("bass"):
        level = bar.section.intensity
        root = near_root(bar.chords[0][2], root)
        if bar.final:
            draft.add("bass", root, bar.start, plan.steps * 0.95, 6, 0.7)
            continue
        if plan.bass_line == "walking":
            _walk(draft, bar, (low, high), root)
            continue
        name = bar.section.name[0]
        if name not in lines:
            lines[name] = rhythm(plan, "bass", plan.bass_line, rng, "r")
        for step, length, letter in _cut_at_changes(lines[name], bar):
            harmony = bar.chord_at(step)
            pitch = near_root(harmony, root) + _interval(letter, harmony)
            while pitch > voice.high:
                pitch -= 12
            accent = 6 if step == 0 else 0
            draft.add("bass", pitch, bar.start + step, length * 0.93, accent, level)


def _cut_at_changes(events: list[tuple[int, int, str]], bar: Bar) -> list[tuple[int, int, str]]:
    """The line with a root at every change of chord that it would hold over."""
    changes = {step for step, _, _ in bar.chords[1:]}
    cut = cut_at(events, changes)
    starts = starts_of(cut)
    more = [(s, length, "r") for s, length, _ in bar.chords[1:] if s not in starts]
    return cut_at(sorted(cut + more), starts | changes)


def _interval(letter: str, harmony: Chord) -> int:
    if letter == "o":
        return 12
    if letter == "f":
        return next((i for i in harmony.shape if 6 <= i % 12 <= 8), 7)
    if letter == "t":
        return next((i for i in harmony.shape if 3 <= i <= 4), 7)
    return 0


def _walk(draft: Draft, bar: Bar, span: tuple[int, int], root: int) -> None:
    """A note a beat: the root, then towards the next bar's root, which it approaches."""
    plan, rng, beats = draft.plan, draft.rng, draft.plan.groups
    following = draft.bars[min(bar.index + 1, len(draft.bars) - 1)].chords[0][2]
    goals = pitches((following.root,), plan.key, *span) or [root]
    goal = min(goals, key=lambda p: (abs(p - root) < 1, abs(p - root - rng.choice((-5, 5)))))
    pitch = root
    for i, step in enumerate(beats):
        harmony = bar.chord_at(step)
        if i and i == len(beats) - 1:
            scale = pitches(scale_over(harmony, plan.mode), plan.key, goal - 2, goal + 2)
            near = [p for p in scale if p != goal] + [goal - 1]
            pitch = rng.choice(near)
        elif i:
            tones = pitches(harmony.classes, plan.key, span[0], span[1] + 5)
            ahead = root + (goal - root) * i / len(beats)
            pitch = min((t for t in tones if t != pitch), key=lambda p: abs(p - ahead - 0.1))
        pitch = max(span[0], min(pitch, span[1] + 7))
        draft.add("bass", pitch, bar.start + step, 3.7, 3 if i == 0 else 0, bar.section.intensity)
        if rng.random() < 0.12 and step + 2 < plan.steps:
            draft.add("bass", pitch, bar.start + step + 3, 0.7, -14, bar.section.intensity)
