"""Accompaniment by mma: its grooves over our chords, for our players, under our melodies.

mma (Debian's package, GPL-2+) is a program that turns chords into MIDI. It is run as it is
installed, and nothing of it is in this project; what it writes over our chords is ours.
"""

import functools
import random
import re
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pretty_midi

from simba_music.conditioning.chord_symbols import chord_symbol, parse_symbol
from simba_music.conditioning.reading.scales import Key
from simba_music.errors import RequestError
from simba_music.training.corpus.composing.draft import Bar, Draft, Played
from simba_music.training.corpus.composing.drums import KEYS
from simba_music.training.corpus.composing.plan import Plan
from simba_music.training.corpus.tables import instruments, mma_grooves

Accompaniment = Literal["own", "mma"]
SHARE = 0.75  # of the pieces that have a groove
LIMIT_S = 30.0
LIBRARIES = (Path("/usr/share/mma/lib/stdlib"), Path("/usr/local/share/mma/lib/stdlib"))
LOUDEST = 20.0  # accents at most, in MIDI velocity
_USUAL = 90.0  # velocity that a groove's plain notes have
# Beats of mma, of 4 sixteenths, and their number in a bar.
_BEATS = {"4/4": 4, "3/4": 3}
# Qualities that mma writes otherwise; of the last the ninth is left out.
_QUALITIES = {
    "dim": "mb5", "maj7": "M7", "maj9": "M9", "maj13": "M13", "mmaj7": "mM7", "69": "6(add9)",
    "7sus4": "7sus", "madd9": "m",
}  # fmt: skip
# General MIDI percussion that the composer has no name for, as what sounds most like it.
_DRUMS = {
    35: "kick", 40: "snare", 43: "tom_low", 46: "open", 47: "tom", 48: "tom", 50: "tom",
    52: "crash", 53: "ride", 55: "crash", 57: "crash", 59: "ride", 61: "bongo", 62: "conga",
    64: "conga_low", 65: "tom", 66: "tom_low", 67: "cowbell", 68: "cowbell", 69: "shaker",
    73: "shaker", 74: "shaker", 76: "claves", 77: "claves", 82: "shaker",
}  # fmt: skip
_KEYS = {key: key for key in KEYS.values()} | {key: KEYS[name] for key, name in _DRUMS.items()}
# Which of mma's tracks, by the beginnings of their names, may play a role, the best first.
_TRACKS = {
    "bass": ("Bass", "Walk"),
    "chords": ("Chord", "Plectrum", "Arpeggio"),
    "arpeggio": ("Arpeggio", "Plectrum", "Chord"),
}
_DEFINED = re.compile(r"^\s*DefGroove\s+(\S+)", re.IGNORECASE | re.MULTILINE)


def find_mma(instead: str = "leave --accompaniment out") -> str:
    """The installed program; `instead` is what whoever lacks it may do.

    Raises:
        RequestError: If there is none.
    """
    found = shutil.which("mma")
    if found is None:
        raise RequestError(
            "mma is not installed, which plays the accompaniment here. Install Debian's package "
            f"mma, or {instead}."
        )
    return found


@functools.cache
def groove_names() -> frozenset[str]:
    """Names of all grooves of the installed standard library, in lower case."""
    files = (path for folder in LIBRARIES if folder.is_dir() for path in folder.glob("*.mma"))
    texts = (path.read_text(errors="replace") for path in files)
    return frozenset(name.lower() for text in texts for name in _DEFINED.findall(text))


def groove_of(plan: Plan) -> str | None:
    """The groove of a piece, by its seed; None where it keeps its own accompaniment."""
    rng = random.Random(f"mma{plan.seed}")
    named = mma_grooves().get(plan.genre, {}).get(plan.metre, ())
    wanted = {"chords", "bass", "drums", "arpeggio"} & set(plan.lineup)
    return rng.choice(named) if named and wanted and rng.random() < SHARE else None


def _groove_at(groove: str, bar: Bar) -> str:
    """The groove or its variant that plays in a bar."""
    known = groove_names()
    if bar.last_of_section and f"{groove}fill".lower() in known:
        return f"{groove}Fill"
    if bar.section.name[0] in "BC":
        variants = (f"{groove}{ending}" for ending in ("1", "Plus"))
        return next((name for name in variants if name.lower() in known), groove)
    return groove


def script(plan: Plan, bars: list[Bar], groove: str) -> str:
    """A piece's chords as a script of mma, a line a bar."""
    beats, key = _BEATS[plan.metre], Key(plan.key, plan.mode)
    lines = [f"RndSeed {plan.seed}", f"Tempo {plan.tempo}", f"Groove {groove}"]
    playing = groove
    for bar in bars:
        if (wanted := _groove_at(groove, bar)) != playing:
            lines.append(f"Groove {wanted}")
            playing = wanted
        told = ["/"] * beats
        for step, _, harmony in bar.chords:
            symbol = chord_symbol((harmony.root + plan.key) % 12, harmony.shape, key)
            root = symbol[:2] if symbol[1:2] in ("#", "b") else symbol[:1]
            quality = symbol.removeprefix(root)
            told[step // 4] = root + _QUALITIES.get(quality, quality)
            assert parse_symbol(symbol)[1] == harmony.shape
        lines.append(f"{bar.index + 1} {' '.join(told)}")
    return "\n".join(lines) + "\n"


def render_script(text: str) -> pretty_midi.PrettyMIDI:
    """What mma plays for a script.

    Raises:
        RequestError: If it is not installed, fails, or takes longer than `LIMIT_S`.
    """
    program = find_mma()
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "piece.mma", Path(folder) / "piece.mid"
        source.write_text(text)
        command = [program, "-f", str(made), str(source)]
        try:
            # A home of its own, so that nobody's settings change the notes.
            ran = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                cwd=folder,
                env={"HOME": folder, "PATH": "/usr/bin:/bin"},
            )
        except subprocess.TimeoutExpired as error:
            raise RequestError(f"mma took longer than {LIMIT_S:g} s for a piece.") from error
        if ran.returncode or not made.exists():
            said = " ".join((ran.stdout + ran.stderr).split())[-300:]
            raise RequestError(f"mma could not play a piece (exit code {ran.returncode}): {said}")
        return pretty_midi.PrettyMIDI(str(made))


def _track(parts: list[pretty_midi.Instrument], role: str) -> pretty_midi.Instrument | None:
    """The track that plays a role best, taken out of `parts`."""
    for beginning in _TRACKS[role]:
        fitting = [part for part in parts if part.name.startswith(beginning) and not part.is_drum]
        if fitting:
            found = max(fitting, key=lambda part: len(part.notes))
            parts.remove(found)
            return found
    return None


def _in_range(notes: list[pretty_midi.Note], name: str) -> list[int]:
    """Pitches of notes moved by octaves into what an instrument plays, the line kept together."""
    voice, pitches = instruments()[name], sorted(note.pitch for note in notes)
    middle, centre = pitches[len(pitches) // 2], (voice.low + voice.high) / 2
    # Bass parts lie low, chords around the middle of the staff, where the instrument has that.
    shift = 0 if voice.low <= middle <= voice.high else 12 * round((centre - middle) / 12)
    found = []
    for note in notes:
        pitch = note.pitch + shift
        while pitch < voice.low:
            pitch += 12
        while pitch > voice.high and pitch - 12 >= voice.low:
            pitch -= 12
        found.append(min(pitch, voice.high))
    return found


def _played(draft: Draft, notes: list[pretty_midi.Note], pitches: list[int]) -> list[Played]:
    """Notes in the steps of a draft, whose own swing comes on top."""
    step_s, found = draft.plan.step_s, list[Played]()
    for note, pitch in zip(notes, pitches, strict=True):
        start, end = (draft.straightened(float(t) / step_s) for t in (note.start, note.end))
        accent = max(-LOUDEST, min(LOUDEST, (note.velocity - _USUAL) / 2))
        found.append(Played(start, max(0.25, end - start), pitch, accent))
    return found


def accompany(draft: Draft, groove: str) -> None:
    """Put mma's parts in the place of a draft's own, but for the last bar.

    Who plays stays as it was planned, so that what is held out stays so: a role that the groove
    has no track for keeps its own part. What the plan says of rhythms no longer holds of those
    that have another, and is left out of it.

    Raises:
        RequestError: See `render_script`.
    """
    plan = draft.plan
    score = render_script(script(plan, draft.bars[:-1], groove))
    parts, taken, walks = [p for p in score.instruments if p.notes], set[str](), False
    for role in ("bass", "chords", "arpeggio"):
        found = _track(parts, role) if role in plan.lineup else None
        if found is not None:
            pitches = _in_range(found.notes, plan.lineup[role])
            draft.put(role, _played(draft, found.notes, pitches))
            taken.add(role)
            walks |= found.name.startswith("Walk")
    hits = [n for p in parts if p.is_drum for n in p.notes if n.pitch in _KEYS]
    if "drums" in plan.lineup and hits:
        draft.put("drums", _played(draft, hits, [_KEYS[n.pitch] for n in hits]))
        taken.add("drums")
    draft.plan = replace(
        plan,
        comping="" if "chords" in taken else plan.comping,
        bass_line=("walking" if walks else "") if "bass" in taken else plan.bass_line,
        groove="" if "drums" in taken else plan.groove,
        accompaniment=f"mma {groove}" if taken else "own",
    )
