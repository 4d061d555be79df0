"""Round trips measured sound by sound: rows of one system, and of the difference of two."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
import pretty_midi
import torch

from simba_music.audio import SAMPLE_RATE, Waveform
from simba_music.scoring.score import Scorer
from simba_music.training.codec.losses import MelDistance, SpectralLoss
from simba_music.training.evaluation.distances import frechet_distance
from simba_music.training.evaluation.measures import (
    Heard,
    Row,
    bootstrap_rows,
    chroma_cosine,
    comb_db,
    mean_row,
    onset_f1,
    peakiness_db,
    pitch_agreement,
    si_sdr,
)
from simba_music.training.judges.tagger import Tagger, macro_auc, window_labels

PITCH = "pitch right (share of voiced frames, solos)"
METRICS = (
    "log-mel distance (nepers)",
    "multi-resolution STFT distance (nepers)",
    "SI-SDR (dB)",
    "chroma cosine",
    "onset F1 (50 ms)",
    PITCH,
    "comb at the frame rate, beside the original (dB)",
    "peak over loudness, beside the original (dB)",
)
SIMILAR = "semantic similarity ({}'s space, cosine)"
FAD, AUC = "FAD (our tagger's space)", "instrument AUC (macro)"


@dataclass(frozen=True)
class Sound:
    """A held-out sound at 24 kHz; its score and genre, where it has them; whether it is one voice.

    `heard` keeps what was found in it, as every system is compared with the same sounds.
    """

    heard: Heard
    score: pretty_midi.PrettyMIDI | None = None
    solo: bool = False
    genre: str = ""

    @property
    def samples(self) -> np.ndarray:
        """float32 `[T]`."""
        return self.heard.samples


class Judges:
    """What compares originals and round trips: distances, the tagger, and scorers by their name."""

    def __init__(self, tagger: Tagger, scorers: Mapping[str, Scorer] | None = None):
        self.tagger, self.scorers = tagger, dict(scorers or {})
        self.mel, self.spectral = MelDistance(SAMPLE_RATE), SpectralLoss(SAMPLE_RATE)
        # Of originals, which every system is compared with.
        self._tagged = WeakKeyDictionary[Heard, np.ndarray]()
        self._embedded = WeakKeyDictionary[Heard, dict[str, torch.Tensor]]()

    def tagged(self, original: Heard) -> np.ndarray:
        """The tagger's vectors `[W, E]` of an original."""
        if original not in self._tagged:
            self._tagged[original] = self.tagger.listen(original.samples)[0]
        return self._tagged[original]

    def similarities(self, original: Heard, other: np.ndarray) -> dict[str, float]:
        """Cosine of the vectors of an original and a sound `[T]`, by the scorer's name."""
        known, found = self._embedded.setdefault(original, {}), dict[str, float]()
        for name, scorer in self.scorers.items():
            if name not in known:
                known[name] = scorer.embed_wave(_wave(original.samples))
            found[name] = float(known[name] @ scorer.embed_wave(_wave(other)))
        return found


def _wave(samples: np.ndarray) -> Waveform:
    return Waveform(torch.from_numpy(samples)[None], SAMPLE_RATE)


@dataclass
class Measured:
    """What was found in a system's round trips; every list has an entry a sound, in order.

    Values are nan where a measure does not apply. Vectors `[W, E]` of the tagger are of the
    originals and of the round trips; labels and chances `[W, L]` have no rows where there is no
    score.
    """

    values: dict[str, list[float]] = field(default_factory=dict)
    wanted: list[np.ndarray] = field(default_factory=list)
    embedded: list[np.ndarray] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)
    chances: list[np.ndarray] = field(default_factory=list)

    def add(self, judges: Judges, sound: Sound, other: np.ndarray, rate: int) -> None:
        """Measure a round trip `[T]` of a sound; `rate` is the codec's frame rate in Hz."""
        original, tagger = sound.samples, judges.tagger
        heard = sound.heard if other is original else Heard(other)
        pair = (torch.from_numpy(original)[None], torch.from_numpy(other)[None])
        found = [float(judges.mel(*pair)), float(judges.spectral(*pair)[1])]
        found += [si_sdr(original, other), chroma_cosine(sound.heard, heard)]
        found.append(onset_f1(sound.heard, heard))
        found.append(pitch_agreement(sound.heard, heard) if sound.solo else float("nan"))
        found.append(comb_db(other, rate) - comb_db(original, rate))
        found.append(peakiness_db(other) - peakiness_db(original))
        wanted, (vectors, chances) = judges.tagged(sound.heard), tagger.listen(other)
        lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(vectors, axis=1)
        named = dict(zip(METRICS, found, strict=True))
        for name, value in judges.similarities(sound.heard, other).items():
            named[SIMILAR.format(name)] = value
        named[SIMILAR.format("tagger")] = float(np.mean((wanted * vectors).sum(1) / lengths))
        for metric, value in named.items():
            self.values.setdefault(metric, []).append(value)
        self.wanted.append(wanted)
        self.embedded.append(vectors)
        truth = np.zeros((0, len(tagger.config.labels)), dtype=bool)
        if sound.score is not None:
            seconds = len(original) / SAMPLE_RATE
            truth = window_labels(sound.score, tagger.config.labels, seconds).numpy()
        self.labels.append(truth[: len(chances)])
        self.chances.append(chances[: len(truth)])

    def add_solo(self, sound: Sound, other: np.ndarray) -> None:
        """Measure only the pitch of a round trip `[T]` of one more voice alone."""
        agreed = pitch_agreement(sound.heard, Heard(other))
        self.values.setdefault(PITCH, []).append(agreed)

    def frechet(self, picks: np.ndarray) -> float:
        """FAD of some of the sounds."""
        parts = ([found[i] for i in picks] for found in (self.wanted, self.embedded))
        return frechet_distance(*map(np.concatenate, parts))

    def auc(self, picks: np.ndarray) -> float:
        """Macro AUC of the tagger on some of the sounds; nan without scores."""
        labels, chances = ([found[i] for i in picks] for found in (self.labels, self.chances))
        return macro_auc(np.concatenate(labels), np.concatenate(chances))

    def rows(self, name: str) -> list[Row]:
        """A row for every measure, with its interval."""
        found = []
        for metric, values in self.values.items():
            known = [value for value in values if not np.isnan(value)]
            if len(known) > 1:
                found.append(mean_row(metric, name, known))
        count, windows = len(self.wanted), sum(map(len, self.embedded))
        found += bootstrap_rows(FAD, name, self.frechet, count, windows)
        found += bootstrap_rows(AUC, name, self.auc, count, sum(map(len, self.labels)))
        return found


def difference_rows(name: str, one: Measured, other: Measured) -> list[Row]:
    """Rows of `one` minus `other`, over the same sounds; intervals are of the differences.

    Raises:
        ValueError: If they are over different numbers of sounds.
    """
    count = len(one.wanted)
    if count != len(other.wanted):
        raise ValueError(f"{count} sounds cannot be compared with {len(other.wanted)} others.")
    rows = []
    for metric in one.values:
        both = np.array(one.values[metric]) - np.array(other.values[metric])
        known = both[~np.isnan(both)]
        if len(known) > 1:
            rows.append(mean_row(metric, name, known.tolist()))
    windows = sum(map(len, one.embedded))
    for metric, a, b in ((FAD, one.frechet, other.frechet), (AUC, one.auc, other.auc)):
        rows += bootstrap_rows(metric, name, _minus(a, b), count, windows)
    return rows


def _minus(
    a: Callable[[np.ndarray], float], b: Callable[[np.ndarray], float]
) -> Callable[[np.ndarray], float]:
    return lambda picks: a(picks) - b(picks)
