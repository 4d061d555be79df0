"""Writing sound: WAV whole or not at all, Ogg Vorbis for documents."""

import io
from pathlib import Path

import soundfile

from simba_music.audio.waveform import Waveform
from simba_music.files import write_atomic


def wav_bytes(wave: Waveform) -> bytes:
    """The waveform as a 16-bit WAV file; the same samples give the same bytes."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave.int16(), wave.sample_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def write(path: str | Path, wave: Waveform) -> None:
    """Write a 16-bit WAV file whole or not at all (temporary file, then rename)."""
    write_atomic(Path(path), wav_bytes(wave))


def write_ogg(path: str | Path, wave: Waveform) -> None:
    """Write an Ogg Vorbis file, for samples in documents."""
    frames = wave.samples.T.numpy()
    with soundfile.SoundFile(
        str(path), "w", wave.sample_rate, frames.shape[1], format="OGG", subtype="VORBIS"
    ) as file:
        # libsndfile's encoder overflows its stack when it gets much at once.
        for start in range(0, len(frames), wave.sample_rate):
            file.write(frames[start : start + wave.sample_rate])
