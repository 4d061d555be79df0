"""Codec evaluation: round trips against the originals, beside Opus and a quantised-mel floor."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pretty_midi
import torch

from simba_music import audio
from simba_music.audio import SAMPLE_RATE, Waveform
from simba_music.models.codec import Codec
from simba_music.training.codec.baselines import System, baselines, hub_codecs, training_sounds
from simba_music.training.codec.losses import MelDistance, SpectralLoss
from simba_music.training.corpus.bench import read_bench
from simba_music.training.corpus.store import crop_audio, piece_audio
from simba_music.training.corpus.tokens import codec_ref
from simba_music.training.evaluation.distances import frechet_distance
from simba_music.training.evaluation.figures import draw_pairs
from simba_music.training.evaluation.measures import (
    Heard,
    Row,
    chroma_cosine,
    comb_db,
    mean_row,
    onset_f1,
    peakiness_db,
    pitch_agreement,
    row_of,
    si_sdr,
)
from simba_music.training.evaluation.report import update_report
from simba_music.training.judges.tagger import (
    Tagger,
    load_tagger,
    macro_auc,
    tagger_weights,
    window_labels,
)

logger = logging.getLogger(__name__)

SHOWN_S = 8  # of a sound in the sheet of spectrograms


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


def bench_sounds(folder: Path, count: int | None = None) -> list[Sound]:
    """Renderings of the frozen benchmark, or of `count` of them, spread evenly."""
    items = list(read_bench(folder))
    picked = np.linspace(0, len(items) - 1, min(count or len(items), len(items))).astype(int)
    return [
        Sound(
            Heard(item.render(SAMPLE_RATE)),
            item.score,
            set(item.facts["roles"]) == {"melody"},
            item.facts["genre"],
        )
        for item in (items[i] for i in picked)
    ]


def real_sounds(corpus: Path) -> list[Sound]:
    """Every crop of the recordings that an imported corpus keeps for tests."""
    return [
        Sound(Heard(sound))
        for row, samples in piece_audio(corpus)
        if row["split"] == "test"
        for sound in crop_audio(row, samples, SAMPLE_RATE)
    ]


class RoundTrip:
    """A codec as a system; it remembers its tokens and how long decoding took."""

    def __init__(self, codec: Codec):
        self.codec = codec
        self.tokens: list[np.ndarray] = []
        self.decode_s, self.audio_s = 0.0, 0.0

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """What the codec makes of samples `[T]` at 24 kHz."""
        tokens = self.codec.encode(Waveform(torch.from_numpy(samples)[None], SAMPLE_RATE))
        self.tokens.append(tokens.flatten().numpy())
        started = time.monotonic()
        (wave,) = self.codec.decode(tokens)
        self.decode_s += time.monotonic() - started
        self.audio_s += wave.duration_s
        return audio.resample(wave, SAMPLE_RATE).samples[0].numpy()

    def rows(self, name: str) -> list[Row]:
        """How many codes are in use, how evenly, and the time to decode ten seconds."""
        tokens, size = np.concatenate(self.tokens), self.codec.ref.codebook_size
        shares = np.bincount(tokens, minlength=size) / len(tokens)
        used = shares[shares > 0]
        perplexity = float(np.exp(-(used * np.log(used)).sum()))
        seconds = 10 * self.decode_s / self.audio_s
        return [
            _exact("codes in use (share)", name, len(used) / size, len(tokens)),
            _exact("code perplexity over codes", name, perplexity / size, len(tokens)),
            _exact("seconds to decode 10 s", name, seconds, len(self.tokens)),
        ]


def _exact(metric: str, model: str, value: float, count: int) -> Row:
    return row_of(metric, model, value, value, value, count)


def _fitted(samples: np.ndarray, length: int) -> np.ndarray:
    if len(samples) == length:
        return samples
    return np.pad(samples, (0, max(0, length - len(samples))))[:length]


def measure(name: str, sounds: list[Sound], system: System, tagger: Tagger, rate: int) -> list[Row]:
    """Every measure of one system over held-out sounds; `rate` is the codec's frame rate in Hz."""
    mel, spectral = MelDistance(SAMPLE_RATE), SpectralLoss(SAMPLE_RATE)
    values: dict[str, list[float]] = {
        "log-mel distance (nepers)": [],
        "multi-resolution STFT distance (nepers)": [],
        "SI-SDR (dB)": [],
        "chroma cosine": [],
        "onset F1 (50 ms)": [],
        "pitch right (share of voiced frames, solos)": [],
        "comb at the frame rate, beside the original (dB)": [],
        "peak over loudness, beside the original (dB)": [],
    }
    embedded, wanted, probabilities, labels = [], [], [], []
    for sound in sounds:
        original = sound.samples
        other = _fitted(system(original), len(original))
        heard = sound.heard if other is original else Heard(other)
        pair = (torch.from_numpy(original)[None], torch.from_numpy(other)[None])
        found = [float(mel(*pair)), float(spectral(*pair)[1]), si_sdr(original, other)]
        found += [chroma_cosine(sound.heard, heard), onset_f1(sound.heard, heard)]
        found.append(pitch_agreement(sound.heard, heard) if sound.solo else float("nan"))
        found.append(comb_db(other, rate) - comb_db(original, rate))
        found.append(peakiness_db(other) - peakiness_db(original))
        for series, value in zip(values.values(), found, strict=True):
            if not np.isnan(value):
                series.append(value)
        wanted.append(tagger.listen(original)[0])
        vectors, chances = tagger.listen(other)
        embedded.append(vectors)
        if sound.score is not None:
            seconds = len(original) / SAMPLE_RATE
            truth = window_labels(sound.score, tagger.config.labels, seconds).numpy()
            labels.append(truth[: len(chances)])
            probabilities.append(chances[: len(truth)])
    rows = [mean_row(metric, name, found) for metric, found in values.items() if len(found) > 1]
    a, b = np.concatenate(wanted), np.concatenate(embedded)
    rows.append(_exact("FAD (our tagger's space)", name, frechet_distance(a, b), len(b)))
    if labels:
        auc = macro_auc(np.concatenate(labels), np.concatenate(probabilities))
        if not np.isnan(auc):
            windows = sum(len(x) for x in labels)
            rows.append(_exact("instrument AUC (macro)", name, auc, windows))
    logger.info("%s: %s", name, {row["metric"]: row["value"] for row in rows})
    return rows


def codec_rows(
    name: str, codec: Codec, sounds: list[Sound], tagger: Tagger | None = None
) -> list[Row]:
    """Every measure of a codec, its use of codes and its speed included."""
    system = RoundTrip(codec)
    rows = measure(name, sounds, system, tagger or load_tagger(), codec.frame_rate)
    return rows + system.rows(name)


def draw_round_trips(codec: Codec, sounds: list[Sound], path: Path, genres: int = 8) -> None:
    """Spectrograms of the first sound of each of `genres` genres, above the codec's round trip."""
    firsts = list({sound.genre: sound for sound in reversed(sounds)}.values())[:genres]
    pairs = []
    for sound in firsts:
        wave = Waveform(torch.from_numpy(sound.samples)[None, : SHOWN_S * SAMPLE_RATE], SAMPLE_RATE)
        (other,) = codec.decode(codec.encode(wave))
        pairs.append((sound.genre, wave, other))
    draw_pairs(pairs, path)


def evaluate_codec(
    folders: list[Path],
    bench: Path,
    real: Path | None,
    corpus: Path | None,
    report: Path,
    count: int,
) -> None:
    """Fill the tables `codec` (frozen benchmark) and `codec-real` of the report.

    Each codec's folder gets a sheet of spectrograms, `spectrograms.png`.

    Args:
        folders: the codecs; the first one's frame rate is where combs are looked for.
        bench: the frozen benchmark; it is rendered, which needs FluidSynth.
        real: imported recordings, of which the test split is used.
        corpus: rendered corpus; the mel floor is fitted to its training pieces.
        report: REPORT.json.
        count: pieces of the benchmark.
    """
    tagger, tables = load_tagger(), dict[str, list[Row]]()
    training = training_sounds(corpus) if corpus else []
    sets = {"codec": bench_sounds(bench, count)} | (
        {"codec-real": real_sounds(real)} if real else {}
    )
    codecs = {folder.name: Codec.load(folder, codec_ref(folder)) for folder in folders}
    rate = next(iter(codecs.values())).frame_rate
    for folder in folders:
        draw_round_trips(codecs[folder.name], sets["codec"], folder / "spectrograms.png")
    others, published = list(baselines(training)), list(hub_codecs())
    missing = {name: "not reachable here" for name, other in published if other is None}
    for table, sounds in sets.items():
        rows = [
            row for name, own in codecs.items() for row in codec_rows(name, own, sounds, tagger)
        ]
        for name, system in others:
            rows += measure(name, sounds, system, tagger, rate)
        for name, other in published:
            if other is not None:
                rows += codec_rows(name, other, sounds, tagger)
        tables[table] = _by_metric(rows)
    weights = tagger_weights()
    for own in codecs.values():
        weights |= own.ref.weights
    update_report(report, tables, weights, missing)


def _by_metric(rows: list[Row]) -> list[Row]:
    """Rows with those of one metric side by side."""
    order = list(dict.fromkeys(row["metric"] for row in rows))
    return sorted(rows, key=lambda row: order.index(row["metric"]))
