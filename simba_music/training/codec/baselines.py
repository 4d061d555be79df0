"""Codec baselines: the original, Opus, a quantised-mel floor, Meta's EnCodec if reachable."""

import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import librosa
import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans

from simba_music import audio
from simba_music.audio import SAMPLE_RATE, Waveform
from simba_music.errors import CheckpointError
from simba_music.models.codec import Codec
from simba_music.models.config import CodecRef
from simba_music.training.corpus.store import piece_audio, to_float

ORIGINAL = "original"
META = "EnCodec 24 kHz, 1 codebook"
TRAINING_PIECES = 100  # for the mel floor
OPUS = "Opus, 6 kbit/s"
MEL_FLOOR = "mel bands, 50 x 2048 codes"
_BANDS, _CODES = 64, 2048

System = Callable[[np.ndarray], np.ndarray]  # samples `[T]` to samples of about that length


def opus(samples: np.ndarray) -> np.ndarray:
    """Samples `[T]` at 24 kHz through Opus at 6 kbit/s (ffmpeg, libopus)."""
    with tempfile.TemporaryDirectory() as folder:
        wav, packed, out = (Path(folder) / name for name in ("in.wav", "x.opus", "out.wav"))
        audio.write(wav, Waveform(torch.from_numpy(samples)[None], SAMPLE_RATE))
        ffmpeg = ["ffmpeg", "-v", "error", "-nostdin", "-i"]
        # The least that libopus takes; seven times the bundled codec's rate at 75 Hz and 2048
        # codes.
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
        # Phases by iteration: the floor spends nothing on them, as no book of 2048 could.
        sound = librosa.griffinlim(
            np.sqrt(power), n_iter=32, hop_length=SAMPLE_RATE // 50, random_state=0
        )
        return sound.astype(np.float32)


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


def training_sounds(corpus: Path) -> list[np.ndarray]:
    """The first training pieces of a rendered corpus, float32 `[T]`."""
    pieces = (to_float(s) for row, s in piece_audio(corpus) if row["split"] == "train")
    return list(itertools.islice(pieces, TRAINING_PIECES))
