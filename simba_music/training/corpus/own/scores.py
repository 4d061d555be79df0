"""Scores: music that people wrote, cut into excerpts, played, and said what sounds in it.

Of Debian's package freedoom, whose two WADs hold 66 pieces of several parts under the BSD licence:
a third, by the digest of its notes, is the split test, from which nothing learns. So is all of
openttd-openmsx and planetblupi-music-midi, which are under the GPL. Of music21, if it is installed,
chorales and tunes in the public domain (`own.tunes`).
"""

import csv
import hashlib
import io
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pretty_midi
import torch

from simba_music import audio
from simba_music.audio import Waveform
from simba_music.errors import RequestError
from simba_music.files import write_atomic
from simba_music.training.corpus.captioning.speaker import article, join
from simba_music.training.corpus.composing.plan import ROLES
from simba_music.training.corpus.facts import HEARD_S, tempo_word
from simba_music.training.corpus.own.kits import TABLE
from simba_music.training.corpus.own.tunes import MELODY, read_chorales, read_tunes
from simba_music.training.corpus.rendering.production import LEVELS_DB, Production
from simba_music.training.corpus.tables import instruments

LICENCE = "BSD-3-Clause"
# Folders of MIDI files from which nothing learns, with their licences.
TESTED = {"openmsx/*.mid": "GPL-2.0-only", "planetblupi/music/*.mid": "GPL-3.0-or-later"}
TESTS = 3  # one in so many is kept for tests
EXCERPT_S, FEWEST_S = 24.0, 8.0
EXCERPTS = 6  # of a piece, at most, spread over it
_FAMILY = 8  # programs of General MIDI that belong together
_BASSES = range(32, 40)
_UNLIKE = 104  # from here on, families are of things that have little in common
_NAMED = 5  # instruments at most in a caption


@dataclass(frozen=True)
class Score:
    """A piece: its name, its notes, its split, and what it is under."""

    name: str
    midi: pretty_midi.PrettyMIDI
    split: str
    licence: str = LICENCE


def lumps(wad: bytes) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every lump of a WAD, the archive of Doom and its kin.

    Raises:
        ValueError: If it is none.
    """
    if len(wad) < 12 or wad[:4] not in (b"IWAD", b"PWAD"):
        raise ValueError("It is no WAD.")
    count, at = struct.unpack("<ii", wad[4:12])
    for i in range(count):
        entry = wad[at + 16 * i : at + 16 * (i + 1)]
        if len(entry) < 16:
            raise ValueError("Its directory is cut off.")
        start, size, name = struct.unpack("<ii8s", entry)
        yield name.rstrip(b"\0").decode("latin-1"), wad[start : start + size]


def split_of(content: bytes) -> str:
    """The split of one in three pieces is test, by its file's digest; else none, so it is drawn."""
    return "" if int(hashlib.sha256(content).hexdigest(), 16) % TESTS else "test"


def _midi(content: bytes) -> pretty_midi.PrettyMIDI:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files that name their tempo late
        return pretty_midi.PrettyMIDI(io.BytesIO(content))


def read_scores(packages: Path, tunes: int = 0) -> list[Score]:
    """Pieces of the packages that are anywhere in a folder, each once, by name, and of music21.

    Args:
        packages: folder of unpacked packages.
        tunes: of music21 at most so many tunes, and as many chorales.

    Raises:
        RequestError: If there are none.
    """
    found = dict[str, Score]()
    for path in sorted(packages.rglob("freedoom*.wad")):
        for name, content in lumps(path.read_bytes()):
            if content[:4] == b"MThd":
                title = f"{path.stem}-{name.lower().removeprefix('d_')}"
                digest = hashlib.sha256(content).hexdigest()
                found.setdefault(digest, Score(title, _midi(content), split_of(content)))
    for pattern, licence in TESTED.items():
        for path in sorted(packages.rglob(pattern)):
            content, title = path.read_bytes(), f"{pattern.partition('/')[0]}-{path.stem.lower()}"
            digest = hashlib.sha256(content).hexdigest()
            found.setdefault(digest, Score(title, _midi(content), "test", licence))
    for read in (read_tunes, read_chorales):
        found |= {n: Score(n, midi, "", licence) for n, midi, licence in read(tunes)}
    if not found:
        raise RequestError(
            f"{packages} has no freedoom1.wad or freedoom2.wad. Fetch and unpack Debian's package: "
            "apt-get download freedoom; dpkg-deb -x freedoom_*.deb DIR/freedoom. For tunes and "
            "chorales: pip install music21."
        )
    return sorted(found.values(), key=lambda score: score.name)


def named(program: int) -> str:
    """Our instrument nearest to a program of General MIDI, of its family; empty if none is."""
    by_program = {one.program: name for name, one in reversed(instruments().items())}
    near = [p for p in by_program if p // _FAMILY == program // _FAMILY]
    if program >= _UNLIKE:
        near = [p for p in near if p == program]
    return by_program[min(near, key=lambda p: (abs(p - program), p))] if near else ""


def excerpts(score: pretty_midi.PrettyMIDI) -> list[tuple[float, float]]:
    """(start, end) in s of excerpts spread over a piece, each from a beat on."""
    total_s = score.get_end_time()
    count = min(EXCERPTS, int(total_s // EXCERPT_S))
    if not count:
        return [(0.0, total_s)] if total_s >= FEWEST_S else []
    beats = score.get_beats()
    wanted = np.linspace(0, total_s - EXCERPT_S, count)
    starts = [float(beats[np.abs(beats - at).argmin()]) for at in wanted]
    ends = (min(total_s, start + EXCERPT_S) for start in starts)
    return [(start, float(end)) for start, end in dict(zip(starts, ends, strict=True)).items()]


def excerpt(score: pretty_midi.PrettyMIDI, start_s: float, end_s: float) -> pretty_midi.PrettyMIDI:
    """The parts that sound in a stretch, from 0 s on, named `role:instrument`."""
    found = pretty_midi.PrettyMIDI()
    for part in score.instruments:
        notes = [
            pretty_midi.Note(
                n.velocity, n.pitch, max(0.0, n.start - start_s), min(n.end, end_s) - start_s
            )
            for n in part.notes
            if n.start < end_s and n.end > start_s
        ]
        name = "drum kit" if part.is_drum else named(int(part.program))
        if sum(n.end - n.start for n in notes) < HEARD_S or not name:
            continue
        bass = int(part.program) in _BASSES
        leads = MELODY if part.name == MELODY else "chords"
        role = "drums" if part.is_drum else "bass" if bass else leads
        own = pretty_midi.Instrument(int(part.program), part.is_drum, f"{role}:{name}")
        own.notes = notes
        found.instruments.append(own)
    return found


def caption_of(score: pretty_midi.PrettyMIDI, tempo: float) -> str:
    """Who plays an excerpt, and how fast, as a musician would write it."""
    length_s = {part.name: 0.0 for part in score.instruments}
    for part in score.instruments:
        length_s[part.name] += sum(n.end - n.start for n in part.notes)
    loudest = sorted(length_s, key=lambda name: -length_s[name])
    voices = list(dict.fromkeys(n.split(":")[1] for n in loudest if not n.startswith("drums")))
    players = [article(instruments()[voice].names[0]) for voice in voices[:_NAMED]]
    drums = any(part.is_drum for part in score.instruments)
    word = {"medium": "medium", "slow": "slow", "upbeat": "medium fast"}.get(tempo_word(tempo))
    said = join([*players, *(["drums"] if drums else [])])
    return (
        f"This music is instrumental. The tempo is {word or 'fast'} with {said}, {tempo:.0f} bpm."
    )


def tempo_at(score: pretty_midi.PrettyMIDI, time_s: float) -> float:
    """Beats a minute at a time."""
    times, tempos = score.get_tempo_changes()
    return float(tempos[max(0, int(np.searchsorted(times, time_s, side="right")) - 1)])


def production_of(name: str) -> Production:
    """A dry and clean recording, with one of the soundfonts."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    levels = {role: LEVELS_DB[role] for role in ROLES}
    return Production(seed, "room", "clean", 0.1, 0.5, 0.0, 0.0, 30.0, seed % 2, levels)


def write_scores(
    packages: Path, out: Path, sample_rate: int = 24_000, tunes: int = 0
) -> dict[str, int]:
    """Write excerpts of human scores, a WAV each, and `captions.csv` with splits and licences.

    `corpus import` reads the folder. Excerpts in which nothing sounds are left out.

    Args:
        packages: folder of unpacked packages.
        out: folder to write.
        sample_rate: in Hz.
        tunes: of music21 at most so many tunes, and as many chorales.

    Returns:
        Excerpts by split, "" for those that are drawn into the splits.

    Raises:
        RequestError: If there are no scores, or nothing can be rendered here.
    """
    from simba_music.training.corpus.rendering.render import Renderer

    scores, renderer = read_scores(packages, tunes), Renderer(sample_rate)
    out.mkdir(parents=True, exist_ok=True)
    rows, counts = [("file", "caption", "split", "licence")], dict[str, int]()
    for score in scores:
        for number, (start_s, end_s) in enumerate(excerpts(score.midi)):
            own = excerpt(score.midi, start_s, end_s)
            if not own.instruments:
                continue
            samples = renderer.render(own, production_of(score.name), end_s - start_s)
            file = f"{score.name}-{number}.wav"
            audio.write(out / file, Waveform(torch.from_numpy(samples)[None], sample_rate))
            said = caption_of(own, tempo_at(score.midi, start_s))
            rows.append((file, said, score.split, score.licence))
            counts[score.split] = counts.get(score.split, 0) + 1
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    write_atomic(out / TABLE, text.getvalue().encode())
    return counts
