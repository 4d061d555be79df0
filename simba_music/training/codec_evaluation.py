"""Codec evaluation: round trips against the originals, beside Opus and a quantised-mel floor."""

import itertools
import logging
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import librosa
import numpy as np
import pretty_midi
import torch
from sklearn.cluster import MiniBatchKMeans

from simba_music import audio
from simba_music.audio import Waveform
from simba_music.codec import Codec
from simba_music.config import CodecRef
from simba_music.errors import CheckpointError
from simba_music.training.codec_losses import MelDistance, SpectralLoss
from simba_music.training.corpus.bench import read_bench
from simba_music.training.corpus.build import SAMPLE_RATE
from simba_music.training.corpus.store import crop_audio, piece_audio, to_float
from simba_music.training.measures import (
    Row,
    chroma_cosine,
    comb_db,
    frechet_distance,
    mean_row,
    onset_f1,
    pitch_agreement,
    row_of,
    si_sdr,
)
from simba_music.training.report import update_report
from simba_music.training.tagger import Tagger, load_tagger, macro_auc, window_labels
from simba_music.training.tokens import codec_ref

logger = logging.getLogger(__name__)

ORIGINAL = "original"
META = "EnCodec 24 kHz, 1 codebook"
TRAINING_PIECES = 100  # for the mel floor
OPUS = "Opus, 6 kbit/s"
MEL_FLOOR = "mel bands, 50 x 2048 codes"
_BANDS, _CODES = 64, 2048


@dataclass(frozen=True)
class Sound:
    """A held-out sound at 24 kHz `[T]`; its score, where it has one; whether it is one voice."""

    samples: np.ndarray
    score: pretty_midi.PrettyMIDI | None = None
    solo: bool = False


System = Callable[[np.ndarray], np.ndarray]  # samples `[T]` to samples of about that length


def bench_sounds(folder: Path, count: int | None = None) -> list[Sound]:
    """Renderings of the frozen benchmark, or of `count` of them, spread evenly."""
    items = list(read_bench(folder))
    picked = np.linspace(0, len(items) - 1, min(count or len(items), len(items))).astype(int)
    return [
        Sound(item.render(SAMPLE_RATE), item.score, set(item.facts["roles"]) == {"melody"})
        for item in (items[i] for i in picked)
    ]


def real_sounds(corpus: Path) -> list[Sound]:
    """Every crop of the recordings that an imported corpus keeps for tests."""
    return [
        Sound(sound)
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


def opus(samples: np.ndarray) -> np.ndarray:
    """Samples `[T]` at 24 kHz through Opus at 6 kbit/s (ffmpeg, libopus)."""
    with tempfile.TemporaryDirectory() as folder:
        wav, packed, out = (Path(folder) / name for name in ("in.wav", "x.opus", "out.wav"))
        audio.write(wav, Waveform(torch.from_numpy(samples)[None], SAMPLE_RATE))
        ffmpeg = ["ffmpeg", "-v", "error", "-nostdin", "-i"]
        encode = ["-c:a", "libopus", "-b:a", "6k", "-application", "audio", str(packed)]
        subprocess.run([*ffmpeg, str(wav), *encode], check=True)
        subprocess.run([*ffmpeg, str(packed), "-ar", str(SAMPLE_RATE), str(out)], check=True)
        return audio.read(out).samples[0].numpy()


class MelFloor:
    """The bitrate spent on the spectral envelope alone: k-means of log-mel frames, Griffin-Lim."""

    def __init__(self, training: list[np.ndarray]):
        frames = np.concatenate([self._log_mel(x) for x in training], axis=1).T
        bank = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=2048, n_mels=_BANDS)
        self.inverse = np.linalg.pinv(bank)
        self.codes = MiniBatchKMeans(_CODES, random_state=0, n_init=1, batch_size=4096).fit(frames)

    @staticmethod
    def _log_mel(samples: np.ndarray) -> np.ndarray:
        mel = librosa.feature.melspectrogram(
            y=samples, sr=SAMPLE_RATE, n_fft=2048, hop_length=SAMPLE_RATE // 50, n_mels=_BANDS
        )
        return np.log(mel + 1e-5)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Samples `[T]` from the nearest code of every frame."""
        ids = self.codes.predict(self._log_mel(samples).T)
        power = np.maximum(self.inverse @ np.exp(self.codes.cluster_centers_[ids].T), 0)
        sound = librosa.griffinlim(
            np.sqrt(power), n_iter=32, hop_length=SAMPLE_RATE // 50, random_state=0
        )
        return sound.astype(np.float32)


def _fitted(samples: np.ndarray, length: int) -> np.ndarray:
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
    }
    embedded, wanted, probabilities, labels = [], [], [], []
    for sound in sounds:
        original = sound.samples
        other = _fitted(system(original), len(original))
        pair = (torch.from_numpy(original)[None], torch.from_numpy(other)[None])
        found = [float(mel(*pair)), float(spectral(*pair)[1]), si_sdr(original, other)]
        found += [chroma_cosine(original, other), onset_f1(original, other)]
        found.append(pitch_agreement(original, other) if sound.solo else float("nan"))
        found.append(comb_db(other, rate) - comb_db(original, rate))
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


def hub_codecs() -> Iterator[tuple[str, Codec | None]]:
    """Meta's 24 kHz EnCodec with one codebook; None where the Hub cannot be reached."""
    ref = CodecRef(
        id="facebook/encodec_24khz",
        revision="main",
        sha256=None,
        sample_rate=24_000,
        frame_rate=75,
        codebook_size=1024,
    )
    try:
        yield META, Codec.load(ref.id, ref)
    except CheckpointError:
        yield META, None


def baselines(training: list[np.ndarray]) -> Iterator[tuple[str, System]]:
    """Systems to compare with: the original itself, Opus where ffmpeg is, and the mel floor."""
    yield ORIGINAL, lambda samples: samples
    if shutil.which("ffmpeg"):
        yield OPUS, opus
    if training:
        yield MEL_FLOOR, MelFloor(training)


def codec_rows(
    name: str, codec: Codec, sounds: list[Sound], tagger: Tagger | None = None
) -> list[Row]:
    """Every measure of a codec, its use of codes and its speed included."""
    system = RoundTrip(codec)
    rows = measure(name, sounds, system, tagger or load_tagger(), codec.frame_rate)
    return rows + system.rows(name)


def evaluate_codec(
    folder: Path, bench: Path, real: Path | None, corpus: Path | None, report: Path, count: int
) -> None:
    """Fill the tables `codec` (frozen benchmark) and `codec-real` of the report.

    Args:
        folder: the codec.
        bench: the frozen benchmark; it is rendered, which needs FluidSynth.
        real: imported recordings, of which the test split is used.
        corpus: rendered corpus whose training pieces teach the mel floor.
        report: REPORT.json.
        count: pieces of the benchmark.
    """
    tagger, tables = load_tagger(), dict[str, list[Row]]()
    training = training_sounds(corpus) if corpus else []
    sets = {"codec": bench_sounds(bench, count)} | (
        {"codec-real": real_sounds(real)} if real else {}
    )
    codec = Codec.load(folder, codec_ref(folder))
    others, published = list(baselines(training)), list(hub_codecs())
    missing = {name: "not reachable here" for name, other in published if other is None}
    for table, sounds in sets.items():
        rows = codec_rows(folder.name, codec, sounds, tagger)
        for name, system in others:
            rows += measure(name, sounds, system, tagger, codec.frame_rate)
        for name, other in published:
            if other is not None:
                rows += codec_rows(name, other, sounds, tagger)
        tables[table] = _by_metric(rows)
    update_report(report, tables, missing)


def _by_metric(rows: list[Row]) -> list[Row]:
    """Rows with those of one metric side by side."""
    order = list(dict.fromkeys(row["metric"] for row in rows))
    return sorted(rows, key=lambda row: order.index(row["metric"]))


def training_sounds(corpus: Path) -> list[np.ndarray]:
    """The first training pieces of a rendered corpus, float32 `[T]`."""
    pieces = (to_float(s) for row, s in piece_audio(corpus) if row["split"] == "train")
    return list(itertools.islice(pieces, TRAINING_PIECES))
