"""Audio: waveforms, read from what people bring, measured, levelled and written."""

from simba_music.audio.comment import read_comment
from simba_music.audio.level import (
    LIMIT_DB,
    PEAK_DBTP,
    TARGET_LUFS,
    loudness_lufs,
    match_pair,
    normalise,
    true_peak_dbtp,
)
from simba_music.audio.reading import SUFFIXES, read, read_recording
from simba_music.audio.waveform import (
    SAMPLE_RATE,
    Waveform,
    cancels,
    fit,
    mel_bank,
    mono,
    resample,
)
from simba_music.audio.writing import (
    LONGEST_COMMENT,
    Form,
    Tags,
    converted,
    encoded,
    varied,
    wav_bytes,
    write,
    write_ogg,
)

__all__ = [
    "LIMIT_DB",
    "LONGEST_COMMENT",
    "PEAK_DBTP",
    "SAMPLE_RATE",
    "SUFFIXES",
    "TARGET_LUFS",
    "Form",
    "Tags",
    "Waveform",
    "cancels",
    "converted",
    "encoded",
    "fit",
    "loudness_lufs",
    "match_pair",
    "mel_bank",
    "mono",
    "normalise",
    "read",
    "read_comment",
    "read_recording",
    "resample",
    "true_peak_dbtp",
    "varied",
    "wav_bytes",
    "write",
    "write_ogg",
]
