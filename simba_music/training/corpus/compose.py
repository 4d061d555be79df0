"""Composer: a seed becomes a short whole piece, with form, harmony, motif, bass, groove, ending."""

import random

import pretty_midi

from simba_music.training.corpus.grooves import CRASH, GROOVES, SNARE, TOM
from simba_music.training.corpus.instruments import INSTRUMENTS
from simba_music.training.corpus.plan import DYNAMICS, MODES, Plan, plan_piece

# Onsets of a bar's motif in sixteenths of a 4/4 bar, by density.
RHYTHMS = {
    "sparse": ((0,), (0, 8), (0, 12), (4,), (0, 6)),
    "moderate": ((0, 4, 8, 12), (0, 6, 8, 12), (0, 4, 8), (0, 3, 6, 8, 12), (2, 4, 8, 14)),
    "busy": (
        (0, 2, 4, 6, 8, 10, 12, 14),
        (0, 2, 4, 5, 6, 8, 10, 12, 13, 14),
        (0, 3, 4, 6, 8, 11, 12, 14),
        tuple(range(16)),
    ),
}


class _Writer:
    """Collects notes of one piece and humanises them; times in sixteenths from the start."""

    def __init__(self, plan: Plan, rng: random.Random):
        self.plan, self.rng = plan, rng
        self.parts: dict[tuple[str, str], pretty_midi.Instrument] = {}

    def add(self, role: str, name: str, pitch: int, start: float, length: float, accent: int = 0):
        plan, rng = self.plan, self.rng
        key = (role, name)
        if key not in self.parts:
            program = 0 if role == "drums" else INSTRUMENTS[name].program
            self.parts[key] = pretty_midi.Instrument(program, role == "drums", f"{role}:{name}")
        if plan.style.swing and int(start) % 4 == 2:
            start += plan.style.swing
        time_s = max(0.0, start * plan.step_s + rng.gauss(0, 0.006))
        velocity = int(min(124, max(20, DYNAMICS[plan.dynamics] + accent + rng.gauss(0, 5))))
        note = pretty_midi.Note(
            velocity, int(pitch), time_s, time_s + max(0.06, length * plan.step_s)
        )
        self.parts[key].notes.append(note)

    def pitch(self, degree: int, octave: int) -> int:
        """MIDI pitch of a scale degree (any integer) above the tonic in `octave`."""
        scale = MODES[self.plan.mode]
        over, index = divmod(degree, len(scale))
        return 12 * (octave + 1 + over) + self.plan.key + scale[index]

    def fit(self, name: str, pitch: int) -> int:
        voice = INSTRUMENTS[name]
        while pitch < voice.low:
            pitch += 12
        while pitch > voice.high:
            pitch -= 12
        return pitch

    def chord(self, degree: int) -> list[int]:
        """Scale degrees of the triad or seventh chord on `degree`."""
        if self.plan.mode == "pentatonic":
            return [degree % 5, degree % 5 + 2, degree % 5 + 4]
        return [degree, degree + 2, degree + 4] + ([degree + 6] if self.plan.style.seventh else [])


def _melody(w: _Writer, name: str) -> None:
    plan, rng = w.plan, w.rng
    scale = len(MODES[plan.mode])
    motifs = []
    for _ in range(2):
        rhythm = [s for s in rng.choice(RHYTHMS[plan.density]) if s < plan.steps]
        contour = [0]
        for _ in rhythm[1:]:
            contour.append(contour[-1] + rng.choice((-2, -1, -1, 0, 1, 1, 2)))
        motifs.append((rhythm or [0], contour))
    voice = INSTRUMENTS[name]
    octave = max(2, min(7, (voice.low + voice.high) // 24 - 1 + rng.choice((0, 0, 1))))
    intro = 2 if plan.n_bars >= 10 and plan.chords and rng.random() < 0.4 else 0
    for bar in range(intro, plan.n_bars - 1):
        degree = plan.progression[bar % len(plan.progression)] % scale
        rhythm, contour = motifs[1 if bar % 4 == 2 else 0]
        if bar % 4 == 3:
            rhythm = rhythm[: max(1, len(rhythm) // 2)]
        shift = degree if degree <= scale // 2 else degree - scale
        for i, step in enumerate(rhythm):
            until = rhythm[i + 1] if i + 1 < len(rhythm) else plan.steps
            offset = contour[i] if i % 4 else contour[i] - contour[i] % 2
            pitch = w.fit(name, w.pitch(shift + offset, octave))
            w.add(
                "melody",
                name,
                pitch,
                bar * plan.steps + step,
                (until - step) * 0.95,
                8 if step == 0 else 0,
            )
    w.add(
        "melody",
        name,
        w.fit(name, w.pitch(0, octave)),
        (plan.n_bars - 1) * plan.steps,
        plan.steps * 0.9,
    )


def _voicing(w: _Writer, name: str, degree: int, previous: list[int]) -> list[int]:
    """Chord tones placed close to the previous chord (smallest move), inside the range."""
    low = INSTRUMENTS[name].low
    centre = sum(previous) / len(previous) if previous else max(low + 12, 57)
    pitches = []
    for tone in w.chord(degree):
        pitch = w.pitch(tone, 3)
        pitch += 12 * round((centre - pitch) / 12)
        pitches.append(w.fit(name, pitch))
    return sorted(pitches)


def _comp_steps(plan: Plan) -> list[tuple[int, float]]:
    """(onset, length) pairs in sixteenths of one bar of chords."""
    n = plan.steps
    table: dict[str, list[tuple[int, float]]] = {
        "block": [(0, n * 0.95)] if n != 16 else [(0, 7.6), (8, 7.6)],
        "sustain": [(0, n * 1.0)],
        "pulse": [(s, 1.8) for s in range(0, n, 2)],
        "strum": [(s, 2.5) for s in (0, 4, 6, 10, 12, 14) if s < n],
        "offbeat": [(s, 1.5) for s in range(2, n, 4)],
        "stab": [(s, 1.0) for s in (0, 3, 6, 11) if s < n],
        "bossa": [(s, 1.6) for s in (0, 3, 6, 10, 13) if s < n],
    }
    return table[plan.comping]


def _chords(w: _Writer, name: str) -> None:
    plan = w.plan
    voicing: list[int] = []
    for bar in range(plan.n_bars):
        last = bar == plan.n_bars - 1
        degree = 0 if last else plan.progression[bar % len(plan.progression)]
        voicing = _voicing(w, name, degree, voicing)
        start = bar * plan.steps
        if last:
            events = [(0.0, plan.steps * 0.9, p) for p in voicing]
        elif plan.comping in ("arpeggio", "alberti", "arpeggio16"):
            stride = 1 if plan.comping == "arpeggio16" else 2
            low, high, mid = voicing[0], voicing[-1], voicing[len(voicing) // 2]
            order = (
                [low, high, mid, high]
                if plan.comping == "alberti"
                else [
                    *voicing,
                    voicing[0] + 12 if voicing[0] + 12 <= INSTRUMENTS[name].high else voicing[1],
                ]
            )
            events = [
                (float(s), stride * 1.1, order[(s // stride) % len(order)])
                for s in range(0, plan.steps, stride)
            ]
        else:
            strum = 0.12 if plan.comping == "strum" else 0.0
            events = [
                (s + strum * i, length, p)
                for s, length in _comp_steps(plan)
                for i, p in enumerate(voicing)
            ]
        for step, length, pitch in events:
            w.add("chords", name, pitch, start + step, length, -8)


def _bass_steps(plan: Plan) -> list[tuple[int, float, int]]:
    """(onset, length, chord-tone index; 7 = octave) of one bar of bass."""
    n = plan.steps
    table: dict[str, list[tuple[int, float, int]]] = {
        "roots": [(0, n * 0.95, 0)],
        "root-fifth": [(0, n / 2 * 0.9, 0), (n // 2, n / 2 * 0.9, 2)],
        "walking": [(0, 3.8, 0), (4, 3.8, 1), (8, 3.8, 2), (12, 3.8, 1)],
        "eighths": [(s, 1.8, 0) for s in range(0, n, 2)],
        "offbeats": [(s, 1.6, 0 if s % 8 == 2 else 7) for s in range(2, n, 4)],
        "sixteenths": [(s, 0.8, 7 if s % 4 == 3 else 0) for s in range(n) if s % 4],
        "funk": [(0, 2.5, 0), (3, 1.0, 0), (6, 1.5, 7), (10, 1.5, 2), (14, 1.0, 0)],
    }
    return table[plan.style.bass_line]


def _bass(w: _Writer, name: str) -> None:
    plan = w.plan
    for bar in range(plan.n_bars):
        last = bar == plan.n_bars - 1
        degree = 0 if last else plan.progression[bar % len(plan.progression)]
        root = w.fit(name, w.pitch(w.chord(degree)[0], 1))
        events = [(0, plan.steps * 0.9, 0)] if last else _bass_steps(plan)
        for step, length, tone in events:
            if step >= plan.steps:
                continue
            interval = (
                12
                if tone == 7
                else (w.pitch(w.chord(degree)[tone], 1) - w.pitch(w.chord(degree)[0], 1))
            )
            w.add("bass", name, root + interval, bar * plan.steps + step, length, 4)


def _drums(w: _Writer) -> None:
    plan, rng = w.plan, w.rng
    assert plan.style.groove is not None
    groove = GROOVES[plan.style.groove]
    for bar in range(plan.n_bars - 1):
        start = bar * plan.steps
        fill = bar % 4 == 3 and rng.random() < 0.6 and plan.style.groove != "timpani"
        for key, steps in groove.items():
            for step in steps:
                if step < plan.steps and not (fill and step >= plan.steps - 4):
                    w.add("drums", "drum kit", key, start + step, 1, 10 if step % 8 == 0 else 0)
        if fill:
            for i in range(4):
                w.add(
                    "drums",
                    "drum kit",
                    (SNARE, SNARE, TOM, TOM)[i],
                    start + plan.steps - 4 + i,
                    1,
                    8,
                )
    end = (plan.n_bars - 1) * plan.steps
    for key in (next(iter(groove)), *(() if plan.style.groove == "timpani" else (CRASH,))):
        w.add("drums", "drum kit", key, end, 4, 10)


def compose(seed: int) -> tuple[pretty_midi.PrettyMIDI, Plan]:
    """Compose one piece; the same seed gives the same notes.

    Returns:
        The score, one MIDI track a part named `role:instrument`, and the plan behind it.
    """
    rng = random.Random(seed)
    plan = plan_piece(rng)
    writer = _Writer(plan, rng)
    if plan.melody:
        _melody(writer, plan.melody)
    if plan.chords:
        _chords(writer, plan.chords)
    if plan.bass:
        _bass(writer, plan.bass)
    if plan.drums:
        _drums(writer)
    score = pretty_midi.PrettyMIDI(initial_tempo=plan.tempo)
    score.instruments.extend(writer.parts.values())
    numerator, denominator = plan.metre.split("/")
    score.time_signature_changes.append(
        pretty_midi.TimeSignature(int(numerator), int(denominator), 0.0)
    )
    return score, plan
