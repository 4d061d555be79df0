"""Writing sound: WAV, FLAC and Ogg Vorbis with words in them; WAV varied for a blind test."""

import io
import struct
import wave as riff
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from simba_music.audio.waveform import Waveform
from simba_music.errors import RequestError
from simba_music.files import write_atomic

Form = Literal["wav", "flac", "ogg"]
LONGEST_COMMENT = 40_000  # characters; libsndfile leaves one of 60,000 out of a WAV file unsaid
_FORMATS: dict[Form, tuple[str, str]] = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
}


@dataclass(frozen=True)
class Tags:
    """Words that a file carries; `read_comment` reads the comment, players show the rest.

    The comment is ASCII: a WAV file does not say how its words are encoded.
    """

    title: str
    comment: str
    licence: str
    software: str = "SiMBA Music"


def encoded(samples: np.ndarray, sample_rate: int, form: Form, tags: Tags | None = None) -> bytes:
    """A file of 16-bit samples `[T]` or `[T, C]` at a rate in Hz; Ogg Vorbis is lossy.

    The same samples and tags give the same bytes, but for Ogg, whose streams are numbered at
    random.

    Raises:
        RequestError: If the comment is longer than `LONGEST_COMMENT`.
    """
    if tags is not None and len(tags.comment) > LONGEST_COMMENT:
        raise RequestError(
            f"The comment has {len(tags.comment)} characters; a file takes {LONGEST_COMMENT}."
        )
    buffer = io.BytesIO()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    kind, subtype = _FORMATS[form]
    with soundfile.SoundFile(
        buffer, "w", sample_rate, channels, format=kind, subtype=subtype
    ) as file:
        if tags is not None:
            file.title, file.software, file.comment = tags.title, tags.software, tags.comment
            file.copyright = tags.licence  # WAV has no field for a licence
            if form != "wav":
                file.license = tags.licence
        # libsndfile's encoder of Vorbis overflows its stack when it gets much at once.
        for start in range(0, len(samples), sample_rate):
            file.write(samples[start : start + sample_rate])
    return buffer.getvalue()


def varied(data: bytes, seed: int, gain_db: float, padding: int) -> bytes:
    """A 16-bit WAV file that sounds the same and has other bytes, which depend on `seed` alone.

    Every sample is turned by `gain_db`, which is not above 0, and dithered anew (TPDF, two steps of
    16 bits wide: Lipshitz et al. 1992), some 93 dB below full scale; `padding` bytes of nothing
    stand in a chunk of their own at the end, where players skip them.
    """
    with riff.open(io.BytesIO(data)) as file:
        layout, frames = file.getparams(), file.readframes(file.getnframes())
    rng = np.random.Generator(np.random.SFC64(seed))
    samples = np.frombuffer(frames, "<i2") * np.float32(10 ** (gain_db / 20))
    samples += rng.random(samples.size, np.float32)
    samples -= rng.random(samples.size, np.float32)
    turned = np.rint(samples).clip(-32768, 32767).astype("<i2").tobytes()
    made = io.BytesIO()
    with riff.open(made, "wb") as file:
        file.setparams(layout)
        file.writeframes(turned)
    found = bytearray(made.getvalue()) + struct.pack("<4sI", b"JUNK", padding) + bytes(padding)
    found[4:8] = struct.pack("<I", len(found) - 8)  # of the whole, after its first eight bytes
    return bytes(found)


def converted(path: str | Path, form: Form, tags: Tags | None = None) -> bytes:
    """A WAV file of ours in another form, FLAC without loss of a bit.

    Raises:
        RequestError: If it cannot be read.
    """
    try:
        samples, sample_rate = soundfile.read(str(path), dtype="int16")
    except (OSError, RuntimeError) as error:
        raise RequestError(f"{path} cannot be read: {error}.") from error
    return encoded(samples, sample_rate, form, tags)


def wav_bytes(wave: Waveform, tags: Tags | None = None) -> bytes:
    """The waveform as a 16-bit WAV file; the same samples and tags give the same bytes."""
    return encoded(wave.int16(), wave.sample_rate, "wav", tags)


def write(path: str | Path, wave: Waveform, tags: Tags | None = None) -> None:
    """Write a 16-bit WAV file whole or not at all (temporary file, then rename)."""
    write_atomic(Path(path), wav_bytes(wave, tags))


def write_ogg(path: str | Path, wave: Waveform) -> None:
    """Write an Ogg Vorbis file whole or not at all, for samples in documents."""
    write_atomic(Path(path), encoded(wave.int16(), wave.sample_rate, "ogg"))
