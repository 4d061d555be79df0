"""Writing sound: WAV whole or not at all, varied for a blind test; Ogg Vorbis for documents."""

import io
import struct
import wave as riff
from pathlib import Path

import numpy as np
import soundfile

from simba_music.audio.waveform import Waveform
from simba_music.files import write_atomic


def wav_bytes(wave: Waveform) -> bytes:
    """The waveform as a 16-bit WAV file; the same samples give the same bytes."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave.int16(), wave.sample_rate, format="WAV", subtype="PCM_16")
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
