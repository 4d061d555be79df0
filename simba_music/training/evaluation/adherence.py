"""Adherence: prompts made from held-out facts, and whether clips have what they ask for."""

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import librosa
import numpy as np

from simba_music.audio import SAMPLE_RATE
from simba_music.generation.prompt_files import Prompt
from simba_music.training.corpus.bench import BenchItem
from simba_music.training.corpus.captioning.speaker import Speaker, article, join, words
from simba_music.training.corpus.check import heard_tempo, same_tempo
from simba_music.training.corpus.tables import read_table
from simba_music.training.evaluation.measures import (
    BOOTSTRAP_SEED,
    Row,
    mean_row,
    onsets_per_s,
    row_of,
    share_below,
)

DURATION_S = 10.0
SOUNDS_S = 2.0  # what sounds for so long in an excerpt may be asked for
MOST_INSTRUMENTS = 2
ROLES = ("melody", "chords", "arpeggio", "counter", "pad", "bass")  # the most audible first
UNSEEN_EVERY = 3  # so many prompts, one says its facts in words that no training caption has
TEMPO_TOLERANCE = 0.08
COMPRESSION = 100.0
# Temperley (2001), The Cognition of Basic Musical Structures, chapter 7: fit of the twelve pitch
# classes to a key.
MAJOR = (5.0, 2.0, 3.5, 2.0, 4.5, 4.0, 2.0, 4.5, 2.0, 3.5, 1.5, 4.0)
MINOR = (5.0, 2.0, 3.5, 4.5, 2.0, 4.0, 2.0, 4.5, 3.5, 2.0, 1.5, 4.0)
SHUFFLES, RESAMPLES = 20, 1000
DRUMS = "drum kit"
OPPOSITES = {"drums": (True, False), "mode": ("major", "minor"), "density": ("busy", "sparse"),
             "dynamics": ("loud", "soft")}  # fmt: skip
FACTS = ("instruments", "tempo", *OPPOSITES)


@dataclass(frozen=True)
class Asked:
    """A prompt with the facts that it asks for, and the excerpt of its piece in which they hold.

    `facts` has instruments, tempo and, where the prompt says them, the keys of `OPPOSITES`;
    `piece` are all the instruments of the piece, which nobody may count as absent.
    """

    prompt: Prompt
    piece_id: str
    start_s: float
    facts: Mapping[str, Any]
    piece: frozenset[str]
    unseen: bool


@dataclass(frozen=True)
class Listened:
    """What is found in the clips of one system, a row a prompt.

    tags `[N, L]` are the tagger's probabilities; tempo `[N]` is in beats a minute; signs `[N]` of
    the facts in `OPPOSITES` are higher where there is more of the first. That of dynamics is
    brightness, as playing louder is brighter and loudness itself is made equal.
    """

    tags: np.ndarray
    tempo: np.ndarray
    signs: Mapping[str, np.ndarray]

    def rows(self, order: np.ndarray) -> "Listened":
        """The same with the rows in another order."""
        signs = {name: values[order] for name, values in self.signs.items()}
        return Listened(self.tags[order], self.tempo[order], signs)


@functools.cache
def unseen() -> dict[str, dict[str, Any]]:
    """Words that no training caption has."""
    return read_table("unseen.toml")


def _excerpt(item: BenchItem) -> tuple[float, dict[str, str], bool]:
    """The middle of a piece: its start, the instruments that sound in it by role, drums."""
    start = max(0.0, (item.duration_s - DURATION_S) / 2)
    end = min(item.duration_s, start + DURATION_S)
    playing, drums = dict[str, str](), False
    for part in item.score.instruments:
        role, name = part.name.split(":")
        sounds = sum(max(0.0, min(n.end, end) - max(n.start, start)) for n in part.notes)
        if part.is_drum:
            drums = drums or any(start <= n.start < end for n in part.notes)
        elif sounds >= SOUNDS_S:
            playing[role] = name
    return start, playing, drums


def _in_seen_words(item: BenchItem, facts: Mapping[str, Any], rng: random.Random) -> str:
    speaker = Speaker(item.facts, rng)
    who = join([article(speaker.voices[name]) for name in facts["instruments"]])
    kinds = words()["drums"]["words"] if facts["drums"] else words()["family"]["drums"]
    parts = [f"{speaker.music()} with {who}", rng.choice(kinds), f"{facts['tempo']} bpm"]
    parts += [speaker.say("tempo", item.facts["tempo_word"])]
    parts += [f"{facts['mode']} key"] if "mode" in facts else []
    parts += [speaker.say(kind) for kind in ("density", "dynamics") if kind in facts]
    return ", ".join(parts)


def _in_unseen_words(item: BenchItem, facts: Mapping[str, Any], rng: random.Random) -> str:
    table = unseen()
    who = [rng.choice(table["instruments"][name]) for name in facts["instruments"]]
    parts = [" and ".join(who), rng.choice(table["drums"]["there" if facts["drums"] else "absent"])]
    parts += [rng.choice(table["tempo"]["said"]).format(facts["tempo"])]
    parts += [rng.choice(table["tempo"][item.facts["tempo_word"]])]
    parts += [
        rng.choice(table[kind][facts[kind]])
        for kind in ("mode", "density", "dynamics")
        if kind in facts
    ]
    return ", ".join(parts)


def make_asked(items: Sequence[BenchItem]) -> list[Asked]:
    """A prompt for every piece in whose middle an instrument sounds; always the same ones."""
    found = list[Asked]()
    for number, item in enumerate(items):
        start_s, playing, drums = _excerpt(item)
        named = list(dict.fromkeys(playing[role] for role in ROLES if role in playing))
        sayable = [name for name in named if name in unseen()["instruments"]]
        due = UNSEEN_EVERY * sum(one.unseen for one in found) <= len(found)
        other = due and bool(sayable)
        chosen = (sayable if other else named)[:MOST_INSTRUMENTS]
        if not chosen:
            continue
        facts: dict[str, Any] = {"instruments": chosen, "drums": drums}
        facts["tempo"] = item.facts["tempo"]
        facts |= {
            kind: item.facts[kind]
            for kind in ("mode", "density", "dynamics")
            if item.facts[kind] in OPPOSITES[kind]
        }
        say = _in_unseen_words if other else _in_seen_words
        text = say(item, facts, random.Random(f"asked{item.id}"))
        piece = frozenset(item.facts["roles"].values()) | frozenset(playing.values())
        prompt = Prompt(f"{number:04d}-{item.id}", text)
        found.append(Asked(prompt, item.id, start_s, facts, piece, other))
    return found


def majorness(samples: np.ndarray) -> float:
    """How much better the chroma of `[T]` fits a major key than a minor one, in [-2, 2].

    The chroma is that of a log-compressed spectrum (Müller 2015, Fundamentals of Music Processing,
    3.1.2.1).
    """
    if not np.any(samples):
        return 0.0
    spectrum = np.abs(librosa.stft(samples, n_fft=8192))
    compressed = np.log1p(COMPRESSION * spectrum / spectrum.max())
    chroma = librosa.feature.chroma_stft(
        S=compressed, sr=SAMPLE_RATE, n_fft=8192, tuning=0.0, norm=None
    ).mean(1)
    fits = [
        max(np.corrcoef(chroma, np.roll(profile, tonic))[0, 1] for tonic in range(12))
        for profile in (MAJOR, MINOR)
    ]
    return float(fits[0] - fits[1])


def brightness(samples: np.ndarray) -> float:
    """Spectral centroid of `[T]` in Hz, weighted by power."""
    power = np.abs(librosa.stft(samples, n_fft=1024)) ** 2
    frequencies = librosa.fft_frequencies(sr=SAMPLE_RATE, n_fft=1024)
    return float((frequencies @ power.sum(1)) / (power.sum() + 1e-12))


def listen(sounds: Sequence[np.ndarray], tags: np.ndarray, labels: Sequence[str]) -> Listened:
    """What is found in sounds `[T]` at 24 kHz, one a prompt; their `tags` `[N, L]` are known."""
    measures: dict[str, Callable[[np.ndarray], float]] = {
        "mode": majorness,
        "density": onsets_per_s,
        "dynamics": brightness,
    }
    signs = {name: np.array([of(s) for s in sounds]) for name, of in measures.items()}
    signs["drums"] = tags[:, labels.index(DRUMS)]
    return Listened(tags, np.array([heard_tempo(sound) for sound in sounds]), signs)


def adherence(asked: Sequence[Asked], heard: Listened, labels: Sequence[str]) -> dict[str, Any]:
    """For each fact, [0, 1] for every prompt that says it, nan for the others, `[N]`.

    Tempo is right or not. For an instrument it is the share of the clips whose prompt and piece
    lack it in which the tagger finds less of it; for drums, mode, density and dynamics the share
    of the clips that were asked for the opposite in which there is less of the sign: the area
    under the ROC curve, clip by clip. Chance is one half.
    """
    count = len(asked)
    found = {name: np.full(count, np.nan) for name in FACTS}
    found["tempo"] = np.array(
        [
            float(same_tempo(tempo, one.facts["tempo"], TEMPO_TOLERANCE))
            for one, tempo in zip(asked, heard.tempo, strict=True)
        ]
    )
    for name, (high, low) in OPPOSITES.items():
        for own, other, sign in ((high, low, 1), (low, high, -1)):
            of = [one.facts.get(name) for one in asked]
            mine = np.array([value == own for value in of])
            theirs = np.array([value == other for value in of])
            if mine.any() and theirs.any():
                values = sign * heard.signs[name]
                found[name][mine] = share_below(values[mine], values[theirs])
    found["instruments"] = instruments_found(asked, heard.tags, labels)
    return found


def instruments_found(
    asked: Sequence[Asked], tags: np.ndarray, labels: Sequence[str]
) -> np.ndarray:
    """For every prompt the mean over its instruments of the share in `adherence`, `[N]`.

    `tags` `[N, L]` are the tagger's probabilities of `labels` in the clips.
    """
    parts = [list[float]() for _ in asked]
    for label in sorted({name for one in asked for name in one.facts["instruments"]}):
        values = tags[:, labels.index(label)]
        # By the piece, not the prompt: what a prompt leaves out its piece may have all the same.
        without = values[[label not in one.piece for one in asked]]
        for i, one in enumerate(asked):
            if label in one.facts["instruments"]:
                parts[i].append(float(share_below(values[i : i + 1], without)[0]))
    return np.array([np.mean(part) for part in parts])


def _floor(asked: Sequence[Asked], heard: Listened, labels: Sequence[str]) -> dict[str, Any]:
    """`adherence` of clips to the prompts of other clips, the mean of `SHUFFLES` deals."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    # Clips judged by others' prompts: what is found without having been asked for, which is more
    # than half where a tagger or the music leans one way.
    deals = [
        adherence(asked, heard.rows(rng.permutation(len(asked))), labels) for _ in range(SHUFFLES)
    ]
    return {name: np.mean([deal[name] for deal in deals], axis=0) for name in FACTS}


def _way(own: np.ndarray, floor: np.ndarray, ceiling: np.ndarray) -> tuple[float, float, float]:
    """How far `own` is from floor to ceiling, with its 95 % interval over prompts."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    kept = ~np.isnan(own)
    data = np.stack([own[kept], floor[kept], ceiling[kept]])

    def way(columns: np.ndarray) -> float:
        a, low, high = columns.mean(1)
        return float((a - low) / max(high - low, 1e-9))

    size = data.shape[1]
    found = [way(data[:, rng.integers(size, size=size)]) for _ in range(RESAMPLES)]
    low, high = np.percentile(found, (2.5, 97.5))
    return way(data), float(low), float(high)


def adherence_rows(
    asked: Sequence[Asked], systems: Mapping[str, Listened], ceiling: str, labels: Sequence[str]
) -> list[Row]:
    """Report rows of every system: fact by fact, its floor, and the way from floor to ceiling.

    Args:
        asked: the prompts.
        systems: what is found in each system's clips, among them the ceiling's.
        ceiling: which system is the best that could be reached.
        labels: names of the tags.
    """
    found = {name: adherence(asked, heard, labels) for name, heard in systems.items()}
    floors = {name: _floor(asked, heard, labels) for name, heard in systems.items()}
    other = np.array([one.unseen for one in asked])
    rows = list[Row]()
    audible = {  # a way to a ceiling that is not above its floor leads nowhere
        fact: mean_row(fact, ceiling, values[~np.isnan(values)])["lo"]
        > np.nanmean(floors[ceiling][fact])
        for fact, values in found[ceiling].items()
    }
    for fact in FACTS:
        for name, values in found.items():
            kept = ~np.isnan(values[fact])
            rows.append(mean_row(fact, name, values[fact][kept]))
            if fact == "instruments":
                rows.append(mean_row(f"{fact}, unseen words", name, values[fact][kept & other]))
            low = float(np.mean(floors[name][fact][kept]))
            rows.append(row_of(f"{fact}, mismatched prompts", name, low, low, low, int(kept.sum())))
            if name != ceiling and audible[fact]:
                way = _way(values[fact], floors[name][fact], found[ceiling][fact])
                rows.append(row_of(f"{fact}, way to the ceiling", name, *way, int(kept.sum())))
    return rows
