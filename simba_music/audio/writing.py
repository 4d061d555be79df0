"""Writing sound: WAV whole or not at all, FLAC, Ogg Vorbis, each with words about the sound."""

import io
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
