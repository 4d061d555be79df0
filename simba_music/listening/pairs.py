"""Clips of a battle: matched in loudness, rate and length, kept by the digest of their bytes."""

import hashlib
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simba_music import audio
from simba_music.audio import Waveform
from simba_music.files import write_atomic
from simba_music.generation.request import SIDES


@dataclass(frozen=True)
class Side:
    """One clip of a battle before it is blinded: its sound and all that is known of it."""

    waveform: Waveform
    about: dict[str, Any] = field(default_factory=dict)


def keep_pair(folder: Path, sides: dict[str, Side]) -> tuple[float, dict[str, dict[str, Any]]]:
    """Match the clips of "left" and "right" and keep them.

    Returns:
        Their length in s, and what is known of each side, `audio_sha256` among it.
    """
    # Listeners prefer the louder of two clips, whatever it plays.
    waves = audio.match_pair(sides["left"].waveform, sides["right"].waveform)
    folder.mkdir(parents=True, exist_ok=True)
    known = {}
    for name, wave in zip(SIDES, waves, strict=True):
        data = audio.wav_bytes(wave)
        # A name that says nothing of the model, and the same bytes are kept once.
        digest = hashlib.sha256(data).hexdigest()
        write_atomic(folder / f"{digest}.wav", data)
        known[name] = sides[name].about | {"audio_sha256": digest}
    return waves[0].duration_s, known


def read_clip(folder: Path, side: dict[str, Any]) -> str:
    """The WAV file of a side as base64."""
    return b64encode((folder / f"{side['audio_sha256']}.wav").read_bytes()).decode()
