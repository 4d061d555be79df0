"""Tunes: melodies that people wrote down long ago, given chords and a groove of mma.

Of the package music21, whose corpus has O'Neill's, Ryan's and Aird's collections as ABC, and Bach's
chorales. What is read is in the public domain and says who transcribed it.
"""

import hashlib
import importlib.util
import random
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pretty_midi

from simba_music.training.corpus.composing.mma import find_mma, groove_names, render_script
from simba_music.training.corpus.tables import instruments, mma_grooves

COLLECTIONS = ("oneills1850", "ryansMammoth", "airdsAirs")
MELODY = "melody"  # name of the part that plays a tune
_CREDIT = re.compile(r"^Z:(.*)$", re.MULTILINE)
_CARRIED = "%abc-2.1\n"  # from here on music21 carries accidentals to the end of a bar
_NUMBER = re.compile(r"^X: *(\d+)", re.MULTILINE)
_FEWEST_BARS, _MOST_BARS = 8, 48
_PLAYERS = (
    "fiddle", "violin", "flute", "whistle", "recorder", "accordion", "clarinet", "harmonica",
    "piano", "nylon guitar", "banjo", "oboe", "trumpet", "alto sax", "vibraphone", "harp",
)  # fmt: skip
_GENRES = ("folk", "country", "pop", "world", "jazz", "rock", "latin", "march", "sacred")
_COMPOUND = ("68Swing", "68March", "Arpeggio68", "Ballad68")  # grooves of six beats
# Beats of mma in a bar, and how many of them a quarter note has; in compound time, eighths.
_METRES = {
    "4/4": (4, 1.0), "2/2": (4, 1.0), "2/4": (4, 2.0), "3/4": (3, 1.0), "6/8": (6, 2.0),
}  # fmt: skip
_TEMPOS = {4: (88, 132), 3: (92, 144), 6: (216, 330)}  # in beats of mma a minute
_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
# Triads of a major scale as (steps above its tonic, minor?), and the fifth of its relative minor.
_TRIADS = ((0, False), (2, True), (4, True), (5, False), (7, False), (9, True), (4, False))
_FALL = -7  # steps from a chord's root to the next that sound like an ending: a falling fifth


@dataclass(frozen=True)
class Tune:
    """A melody.

    Attributes:
        name: of its file.
        notes: (start, length) in beats, and MIDI pitch, one after another.
        beats: in a bar.
        scale: pitch class of the tonic of the major scale whose notes it has, whatever its mode.
        transcriber: who wrote it down for a computer.
    """

    name: str
    notes: tuple[tuple[float, float, int], ...]
    beats: int
    scale: int
    transcriber: str

    @property
    def bars(self) -> int:
        """Bars that it takes."""
        return int(-(-max(start + length for start, length, _ in self.notes) // self.beats))


def corpus_folder() -> Path | None:
    """The corpus of the installed music21; None where it is not installed, or came without."""
    found = importlib.util.find_spec("music21")
    folder = Path(found.origin).parent / "corpus" if found and found.origin else None
    return folder if folder is not None and (folder / COLLECTIONS[0]).is_dir() else None


def written(folder: Path) -> Iterator[tuple[str, str, str]]:
    """(name, ABC, transcriber) of every tune of the collections that says who transcribed it."""
    for collection in COLLECTIONS:
        for path in sorted((folder / collection).glob("*.abc")):
            text = path.read_text(encoding="utf-8", errors="replace")
            for part in re.split(r"(?m)^(?=X:)", text)[1:]:
                number = _NUMBER.search(part)
                credit = " ".join(" ".join(_CREDIT.findall(part)).replace('"', " ").split())
                if number is not None and re.search("[A-Za-z]{3}", credit):
                    yield f"{collection}-{path.stem}-{number[1]}".lower(), part, credit


def read_tune(name: str, abc: str, transcriber: str) -> Tune | None:
    """A tune with its repeats; None if it is too short, too long, or in a metre without a groove.

    Graces are left out, and an upbeat comes at the end of an empty bar.
    """
    from music21 import converter, exceptions21

    try:
        score = converter.parse(_CARRIED + abc, format="abc")
        melody = score.parts[0].expandRepeats().stripTies()
    except (exceptions21.Music21Exception, IndexError, ValueError, ZeroDivisionError):
        return None  # not every tune of the collections can be read
    times = {time.ratioString for time in melody.recurse().getElementsByClass("TimeSignature")}
    keys = list(melody.recurse().getElementsByClass("KeySignature"))
    if len(times) != 1 or not times <= _METRES.keys() or not keys:
        return None
    beats, a_quarter = _METRES[times.pop()]
    bars = list(melody.getElementsByClass("Measure"))
    upbeat = float(bars[0].duration.quarterLength) * a_quarter if bars else 0.0
    shift = beats - upbeat if upbeat < beats else 0.0
    notes = tuple(
        (
            float(note.offset) * a_quarter + shift,
            float(note.quarterLength) * a_quarter,
            int(note.pitches[-1].midi),
        )
        for note in melody.flatten().notes
        if note.quarterLength > 0 and note.pitches
    )
    if not notes:
        return None
    tune = Tune(name, notes, beats, keys[0].sharps * 7 % 12, transcriber)
    return tune if _FEWEST_BARS <= tune.bars <= _MOST_BARS else None


def harmonised(tune: Tune) -> list[str]:
    """A chord a bar, as mma writes it: the path through triads of the scale that fits best.

    A triad fits as far as the notes of the bar, by their length, are its own; roots that fall by a
    fifth go on best, and the tune ends on the triad of its last note where that is one.
    """
    own = np.zeros((tune.bars, 12))
    for start, length, pitch in tune.notes:
        strong = 1.5 if start % tune.beats == 0 else 1.0
        own[int(start // tune.beats), pitch % 12] += strong * length
    own /= np.maximum(own.sum(1, keepdims=True), 1e-9)
    roots = np.array([(tune.scale + steps) % 12 for steps, _ in _TRIADS])
    members = np.zeros((len(_TRIADS), 12))
    for row, (root, (_, minor)) in enumerate(zip(roots, _TRIADS, strict=True)):
        members[row, [root, (root + (3 if minor else 4)) % 12, (root + 7) % 12]] = 1.0
    fits = own @ members.T
    fits[:, -1] -= 0.15  # its third is outside the scale
    home = roots == tune.notes[-1][2] % 12
    home[-1] = False
    fits[-1] += home
    goes_on = np.where((roots[None] - roots[:, None] - _FALL) % 12 == 0, 0.12, 0.0)
    goes_on += np.where(np.eye(len(roots)) > 0, 0.06, 0.0)
    best, ways = fits[0] + 0.5 * home, list[np.ndarray]()
    for fit in fits[1:]:
        reached = best[:, None] + goes_on
        ways.append(reached.argmax(0))
        best = reached.max(0) + fit
    path = [int(best.argmax())]
    for way in reversed(ways):
        path.append(int(way[path[-1]]))
    return [_NAMES[roots[i]] + ("m" if _TRIADS[i][1] else "") for i in reversed(path)]


def _groove(tune: Tune, rng: random.Random) -> str:
    metre = f"{tune.beats}/4"
    named = [g for genre in _GENRES for g in mma_grooves().get(genre, {}).get(metre, ())]
    known = groove_names()
    return rng.choice([g for g in (named or _COMPOUND) if g.lower() in known])


def arranged(tune: Tune) -> pretty_midi.PrettyMIDI:
    """A tune over the accompaniment of mma; tempo, groove and who plays it follow from its name.

    Raises:
        RequestError: See `render_script`.
    """
    rng = random.Random(tune.name)
    tempo, player = rng.randint(*_TEMPOS[tune.beats]), instruments()[rng.choice(_PLAYERS)]
    lines = [f"RndSeed {rng.randrange(10**6)}", f"Tempo {tempo}", f"Groove {_groove(tune, rng)}"]
    lines += [f"{i} {chord}" for i, chord in enumerate(harmonised(tune), 1)]
    made = render_script("\n".join(lines) + "\n")
    pitches = sorted(pitch for _, _, pitch in tune.notes)
    shift = 0
    while pitches[len(pitches) // 2] + shift < player.low:
        shift += 12
    while pitches[len(pitches) // 2] + shift > player.high:
        shift -= 12
    melody, beat_s = pretty_midi.Instrument(player.program, name=MELODY), 60 / tempo
    for start, length, pitch in tune.notes:
        loud = 96 if start % tune.beats == 0 else 84
        at = start * beat_s + rng.uniform(0, 0.012)
        note = pretty_midi.Note(loud, pitch + shift, at, at + 0.94 * length * beat_s)
        melody.notes.append(note)
    made.instruments.append(melody)
    return made


def _first(names: list[Any], count: int) -> list[Any]:
    """So many, in an order that no collection sets: by digests of their names."""
    return sorted(names, key=lambda one: hashlib.sha256(one[0].encode()).digest())[:count]


def read_tunes(count: int) -> Iterator[tuple[str, pretty_midi.PrettyMIDI, str]]:
    """(name, music, licence) of at most so many arranged tunes; none without music21.

    Raises:
        RequestError: If mma is missing.
    """
    folder = corpus_folder()
    if folder is None or not count:
        return
    find_mma("give --tunes 0")
    for name, abc, transcriber in _first(list(written(folder)), count):
        tune = read_tune(name, abc, transcriber)
        if tune is not None:
            yield name, arranged(tune), f"public domain; {transcriber[:80]}"


_TRANSCRIBER = "Margaret Greentree"
_CHOIRS = ("church organ", "strings", "choir", "brass section", "piano", "recorder")


def read_chorales(count: int) -> Iterator[tuple[str, pretty_midi.PrettyMIDI, str]]:
    """(name, music, licence) of at most so many of Bach's chorales, all parts on one instrument."""
    folder = corpus_folder()
    if folder is None or not count:
        return
    from music21 import converter, exceptions21

    paths = [(path.stem, path) for path in (folder / "bach").glob("bwv*.mxl") if _credited(path)]
    for name, path in _first(paths, count):
        rng = random.Random(name)
        try:
            parts = [part.stripTies().flatten().notes for part in converter.parse(path).parts]
        except (exceptions21.Music21Exception, ValueError):
            continue
        player, beat_s = instruments()[rng.choice(_CHOIRS)], 60 / rng.randint(66, 96)
        made = pretty_midi.PrettyMIDI(initial_tempo=60 / beat_s)
        for part in parts:
            voice = pretty_midi.Instrument(player.program, name="chords")
            voice.notes = [_chorale_note(note, beat_s) for note in part if note.quarterLength > 0]
            made.instruments.append(voice)
        yield f"bach-{name}", made, f"public domain; transcribed by {_TRANSCRIBER}"


def _credited(path: Path) -> bool:
    """Whether a compressed MusicXML file names who transcribed it."""
    with zipfile.ZipFile(path) as parts:
        return any(_TRANSCRIBER.encode() in parts.read(name) for name in parts.namelist())


def _chorale_note(note: Any, beat_s: float) -> pretty_midi.Note:
    start = float(note.offset) * beat_s
    end = start + 0.97 * float(note.quarterLength) * beat_s
    return pretty_midi.Note(80, int(note.pitches[-1].midi), start, end)
