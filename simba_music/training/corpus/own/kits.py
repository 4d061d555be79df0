"""Kits: the composer's drum parts, played with one-shot samples whose licence lets models learn."""

import csv
import io
import itertools
import random
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pretty_midi
import torch

from simba_music import audio
from simba_music.audio import SUFFIXES, Waveform
from simba_music.errors import RequestError
from simba_music.files import write_atomic
from simba_music.files.names import Folder
from simba_music.training.corpus.composing.compose import compose
from simba_music.training.corpus.composing.drums import KEYS
from simba_music.training.corpus.endless import train_seeds
from simba_music.training.corpus.own.debian import free_of, licence_of, packages_of

TABLE = "captions.csv"
# What names of samples and of a kit's instruments say of the drum; the first that fits.
_WORDS = {
    "open": r"open", "pedal": r"pedal", "hat": r"h.?hat|hi-?hat|closed|\bhat",
    "rim": r"rim|stick", "clap": r"clap|snap", "brush": r"brush",
    "snare": r"snare|(^|_)sn_", "kick": r"kick|bass.?drum|(^|_)bd_|drum_bass",
    "tom_low": r"(lo|low|floor).?.?tom|tom_lo|tomh?l", "tom": r"tom",
    "crash": r"crash|splash|cymbal_hard|cymbal 1", "ride": r"ride|cymbal_soft|cymbal 2",
    "cowbell": r"cowbell", "tambourine": r"tamb", "shaker": r"shak", "claves": r"clave",
    "conga_low": r"tabla_ghe", "conga": r"tabla_(ke|te)", "bongo": r"tabla_(na|tun)",
}  # fmt: skip
NEEDED = ("kick", "snare", "hat")
INSTEAD = {"rim": "snare", "brush": "snare", "clap": "snare", "open": "hat", "pedal": "hat",
           "ride": "hat", "tambourine": "hat", "shaker": "hat", "claves": "hat", "cowbell": "hat",
           "tom_low": "tom", "tom": "kick", "bongo": "tom", "conga": "tom", "conga_low": "tom",
           "crash": "hat"}  # fmt: skip
LONGEST_S = 4.0  # a longer one is a loop


def drum_of(name: str) -> str:
    """The drum, of `KEYS`, that a sample's name speaks of; empty if none."""
    return next((drum for drum, words in _WORDS.items() if re.search(words, name.lower())), "")


def _named(files: Iterable[Path], folder: Path) -> dict[Path, str]:
    """What each sample of a folder is called: by Hydrogen's drumkit.xml, or by its file."""
    found = {path: path.stem for path in files}
    if (folder / "drumkit.xml").exists():
        for one in ElementTree.parse(folder / "drumkit.xml").iter():
            kept = {child.tag.rpartition("}")[2]: child for child in one}
            if one.tag.rpartition("}")[2] != "instrument" or "name" not in kept:
                continue
            for sample in one.iter():
                path = folder / (sample.text or "").strip()
                if sample.tag.rpartition("}")[2] == "filename" and path in found:
                    found[path] = f"{kept['name'].text} {path.stem}"
    return found


def kits_of(packages: Path) -> dict[str, tuple[str, dict[str, list[Path]]]]:
    """(licence, samples by drum) of every kit in unpacked packages that may be learned from.

    A kit is a folder of samples with a kick, a snare and a hi-hat.
    """
    folder, found = Folder(packages), dict[str, tuple[str, dict[str, list[Path]]]]()
    for root, paragraphs in packages_of(folder):
        groups = dict[Path, dict[str, list[Path]]]()
        for name, path in folder.by_name.items():
            if name.startswith(root) and path.suffix.lower() in SUFFIXES:
                free = free_of(licence_of(name.removeprefix(root), paragraphs))
                if free:
                    groups.setdefault(path.parent, {}).setdefault(free, []).append(path)
        for place, licences in groups.items():
            for licence, files in licences.items():
                drums = dict[str, list[Path]]()
                for path, said in _named(files, place).items():
                    drums.setdefault(drum_of(said), []).append(path)
                drums.pop("", None)
                if all(name in drums for name in NEEDED):
                    found[f"{place.name}-{licence}"] = licence, drums
    return found


def play(
    part: pretty_midi.Instrument, kit: Mapping[str, np.ndarray], sample_rate: int
) -> np.ndarray:
    """A drum part with one sample `[T]` a drum; drums that a kit lacks are played by others."""
    drums = {key: name for name, key in KEYS.items() if name != "brush"}
    ends = [round(note.start * sample_rate) for note in part.notes]
    longest = max(len(sample) for sample in kit.values())
    out = np.zeros(max(ends, default=0) + longest, np.float32)
    for note, at in zip(part.notes, ends, strict=True):
        name = drums.get(note.pitch, "hat")
        while name not in kit:
            name = INSTEAD[name]
        # Loudness grows faster than linearly with velocity, as in our synthesis.
        sample = kit[name] * (note.velocity / 127) ** 1.5
        out[at : at + len(sample)] += sample
    return out


def _sample(path: Path, sample_rate: int) -> np.ndarray:
    wave = audio.resample(audio.mono(audio.read_recording(path)), sample_rate)
    return wave.samples[0, : round(LONGEST_S * sample_rate)].numpy()


def write_kits(packages: Path, out: Path, pieces: int, seed: int, sample_rate: int = 24_000) -> int:
    """Write drum parts of composed pieces, a WAV each, and `captions.csv` with their licences.

    A piece takes the kits in turn, and of each drum one sample. `corpus import` reads the folder.

    Args:
        packages: folder of unpacked packages, see `debian.debian`.
        out: folder to write.
        pieces: how many.
        seed: the first of the composer's.
        sample_rate: in Hz.

    Returns:
        Number of kits.

    Raises:
        RequestError: If no package has a kit that may be learned from.
    """
    kits = kits_of(packages)
    if not kits:
        raise RequestError(
            f"{packages} has no kit with a kick, a snare and a hi-hat under CC0, CC-BY or in the "
            "public domain; unpack Debian's sonic-pi-samples and hydrogen-drumkits there."
        )
    out.mkdir(parents=True, exist_ok=True)
    rows, taken = [("file", "caption", "licence")], itertools.cycle(kits.items())
    for own in train_seeds(seed):
        if len(rows) > pieces:
            break
        parts = [part for part in compose(own)[0].instruments if part.is_drum and part.notes]
        if not parts:
            continue
        (name, (licence, drums)), rng = next(taken), random.Random(own)
        kit = {drum: _sample(rng.choice(files), sample_rate) for drum, files in drums.items()}
        samples = play(parts[0], kit, sample_rate)
        samples = samples / max(1e-6, 2 * float(np.abs(samples).max()))
        file = f"{name}-{own}.wav"
        audio.write(out / file, Waveform(torch.from_numpy(samples)[None], sample_rate))
        rows.append((file, "", licence))
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    write_atomic(out / TABLE, text.getvalue().encode())
    return len(kits)
