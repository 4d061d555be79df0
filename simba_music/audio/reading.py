"""Reading sound: one reader for all files that people bring, by libsndfile or FFmpeg's decoders."""

import logging
from pathlib import Path

import numpy as np
import soundfile
import torch

from simba_music.audio.waveform import Waveform
from simba_music.errors import RequestError

logger = logging.getLogger(__name__)

# Endings of files that are taken for sound; video files give their sound. docs/files.md lists them.
SUFFIXES = (
    ".wav", ".wave", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd",
    ".flac", ".wv", ".tta", ".ape",
    ".mp3", ".mp2", ".m4a", ".m4b", ".mp4", ".mov", ".3gp", ".aac", ".ac3",
    ".ogg", ".oga", ".opus", ".spx", ".webm", ".mka", ".mkv", ".wma",
)  # fmt: skip
LONGEST_READ_S = 4 * 3600.0  # more would fill the memory of a laptop
_RATES = (2_000, 768_000)  # Hz
# Of these libsndfile knows the length only by guessing from the first frames.
_GUESSED = ("MP3", "MPEG")
_TURNED_TO = 10 ** (-1 / 20)  # full scale, of what passes it: -1 dBFS, as clips have
_DC = 1e-3  # a mean beyond it is an offset of the recorder's, and shifts every peak


def read(path: str | Path) -> Waveform:
    """All of a sound file, as a whole turned down to -1 dBFS if its peaks pass full scale.

    Args:
        path: see `SUFFIXES`; its content says what it is, not its ending.

    Raises:
        RequestError: If it is no sound that can be read, holds NaN or infinity, or is too long.
    """
    path = Path(path)
    if not path.is_file():
        linked = f", a broken link to {path.readlink()}" if path.is_symlink() else ""
        raise RequestError(f"{path} is no file{linked}.")
    try:
        wave = _by_libsndfile(path)
    except (OSError, RuntimeError, ValueError) as error:  # libsndfile's own are RuntimeErrors
        wave = _by_ffmpeg(path, str(error))
    if wave is None:
        wave = _by_ffmpeg(path, "")
    return _scaled(path, wave)


def read_recording(path: str | Path) -> Waveform:
    """A sound that someone brings: as `read`, without an offset, and refused if it is silent.

    Raises:
        RequestError: See `read`; or if nothing sounds in it.
    """
    wave = read(path)
    samples = wave.samples
    offset = samples.mean(1, keepdim=True)
    if float(offset.abs().max()) > _DC:
        samples = samples - offset
    if float(samples.abs().max()) < 1e-4:  # -80 dBFS
        raise RequestError(f"{path}: it is silent.")
    return Waveform(samples, wave.sample_rate)


def _scaled(path: Path, wave: Waveform) -> Waveform:
    samples = wave.samples
    if samples.shape[-1] == 0:
        raise RequestError(f"{path}: it is too short: 0 s long.")
    # A sum of squares would overflow to infinity long before a sample is infinite.
    if not bool(torch.isfinite(samples).all()):
        raise RequestError(f"{path}: it holds NaN or infinite samples.")
    low, high = _RATES
    if not low <= wave.sample_rate <= high:
        raise RequestError(
            f"{path}: its sample rate is {wave.sample_rate} Hz; {low} to {high} are read."
        )
    peak = float(samples.abs().max())
    return Waveform(samples * (_TURNED_TO / peak), wave.sample_rate) if peak > 1 else wave


def _too_long(path: Path) -> RequestError:
    return RequestError(
        f"{path}: it is longer than {LONGEST_READ_S / 3600:g} hours. Cut it into several files."
    )


def _by_libsndfile(path: Path) -> Waveform | None:
    """What libsndfile reads, a second at a time, as a header may promise more than there is.

    Returns:
        None for formats whose length it guesses.
    """
    parts = list[np.ndarray]()
    with soundfile.SoundFile(str(path)) as file:
        if file.format in _GUESSED:
            return None
        rate, channels, count = file.samplerate, file.channels, 0
        block = max(1, min(rate, _RATES[1]))
        while True:
            part = np.empty((block, channels), dtype=np.float32)
            got = file.read(out=part)
            parts.append(got)
            count += len(got)
            if count > LONGEST_READ_S * max(rate, 1):
                raise _too_long(path)
            if len(got) < block:
                break
    frames = np.concatenate(parts)
    return Waveform(torch.from_numpy(np.ascontiguousarray(frames.T)), rate)


def _by_ffmpeg(path: Path, why: str) -> Waveform:
    """The first sound stream of a file, by FFmpeg's decoders (PyAV), to where it ends."""
    # Not before it is needed: it brings all of FFmpeg's libraries.
    import av

    also = f" (libsndfile: {why})" if why else ""
    parts, damaged = list[np.ndarray](), 0
    try:
        # Its own protocol alone: a playlist may not make us open other files or addresses.
        with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as file:
            if not file.streams.audio:
                raise RequestError(f"{path}: there is no sound in it{also}.")
            stream = file.streams.audio[0]
            resampler, rate, count = av.AudioResampler(format="fltp"), 0, 0
            for packet in file.demux(stream):
                try:
                    frames = packet.decode()
                except av.error.FFmpegError:
                    damaged += 1  # FFmpeg itself goes on behind a damaged packet
                    continue
                for frame in frames:
                    rate = frame.sample_rate
                    for got in resampler.resample(frame):
                        parts.append(got.to_ndarray())
                        count += got.samples
                if count > LONGEST_READ_S * max(rate, 1):
                    raise _too_long(path)
    except (av.error.FFmpegError, ValueError, OSError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise RequestError(f"{path}: FFmpeg cannot read it: {said}{also}.") from error
    if not parts:
        raise RequestError(f"{path}: FFmpeg cannot read it: nothing could be decoded{also}.")
    if damaged > len(parts):
        raise RequestError(f"{path}: it is damaged: {damaged} packets of it cannot be decoded.")
    if damaged:
        logger.warning("%s: %d damaged packets were passed over", path, damaged)
    return Waveform(torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32)), rate)
