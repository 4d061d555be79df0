"""Sound files of every kind, made by FFmpeg's encoders."""

import av
import numpy as np
import soundfile

RATE = 44_100
# ending: (encoder, container, sample format)
ENCODERS = {
    ".w64": ("pcm_s16le", "w64", "s16"),
    ".rf64": ("pcm_s16le", "wav", "s16"),
    ".wav": ("pcm_s16le", "wav", "s16"),
    ".wave": ("pcm_f32le", "wav", "flt"),
    ".aif": ("pcm_s16be", "aiff", "s16"),
    ".aiff": ("pcm_s16be", "aiff", "s16"),
    ".aifc": ("pcm_f32be", "aiff", "flt"),
    ".caf": ("pcm_s16le", "caf", "s16"),
    ".au": ("pcm_s16be", "au", "s16"),
    ".snd": ("pcm_s16be", "au", "s16"),
    ".flac": ("flac", "flac", "s16"),
    ".wv": ("wavpack", "wv", "fltp"),
    ".tta": ("tta", "tta", "s16"),
    ".mp3": ("libmp3lame", "mp3", "fltp"),
    ".mp2": ("mp2", "mp2", "s16"),
    ".m4a": ("aac", "ipod", "fltp"),
    ".m4b": ("alac", "ipod", "s16p"),
    ".mp4": ("aac", "mp4", "fltp"),
    ".mov": ("pcm_s16le", "mov", "s16"),
    ".3gp": ("aac", "3gp", "fltp"),
    ".aac": ("aac", "adts", "fltp"),
    ".ac3": ("ac3", "ac3", "fltp"),
    ".opus": ("libopus", "ogg", "flt"),
    ".webm": ("libopus", "webm", "flt"),
    ".mka": ("pcm_s16le", "matroska", "s16"),
    ".mkv": ("aac", "matroska", "fltp"),
    ".wma": ("wmav2", "asf", "fltp"),
}


def tone(seconds, frequency=440.0, rate=RATE):
    """A tone that swells three times a second, float32 `[T]`."""
    t = np.arange(round(seconds * rate)) / rate
    return (0.2 * np.sin(2 * np.pi * frequency * t) * (1 + 0.5 * np.sin(6 * np.pi * t))).astype(
        "f4"
    )


def encode(path, samples, rate=RATE, **options):
    """Write mono samples in the format of the path's ending."""
    if path.suffix in (".ogg", ".oga"):
        soundfile.write(path, samples, rate, format="OGG", subtype="VORBIS")
        return path
    encoder, container, kind = ENCODERS[path.suffix]
    with av.open(str(path), "w", format=container, options=options) as file:
        stream = file.add_stream(encoder, rate=rate)
        stream.layout = "mono"
        if encoder == "wmav2":
            stream.bit_rate = 64_000
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        context = stream.codec_context
        resampler = av.AudioResampler(format=kind, layout="mono", rate=context.sample_rate)
        for made in (*resampler.resample(frame), *resampler.resample(None), None):
            file.mux(stream.encode(made))
    return path
