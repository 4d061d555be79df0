"""Clips of a battle: matched in loudness, rate and length; kept, and varied when they are shown."""

import hashlib
import random
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any, Literal

from simba_music import audio
from simba_music.audio import Waveform
from simba_music.errors import RequestError
from simba_music.files import LEAST_DISK_GB
from simba_music.generation.request import SIDES
from simba_music.listening.clip_store import ClipStore, Where, store_of
from simba_music.settings import settings

Origin = Literal["gallery", "typed", "study"]
Kind = Literal["normal", "practice", "repeat", "catch"]
_GB = 1e9
LEVEL_DB = 0.5  # the most that a showing is turned down, both clips alike
PADDING = 64  # samples of nothing after the sound, fewer than so many


@dataclass(frozen=True)
class Side:
    """One clip of a battle before it is blinded: its sound and all that is known of it."""

    waveform: Waveform
    about: dict[str, Any] = field(default_factory=dict)


def check_room(where: Where) -> None:
    """See that there is room for another pair for a typed prompt.

    Raises:
        RequestError: If the disk is nearly full, or the pairs have what the host gives them.
    """
    clips = store_of(where)
    full = clips.held_bytes() > settings().kept_gb * _GB
    if full or clips.free_bytes() < LEAST_DISK_GB * _GB:
        raise RequestError(
            "There is no room for more pairs on this machine now. Vote on those of the gallery; "
            "whoever runs the page can give more room (SIMBA_MUSIC_KEPT_GB)."
        )


def keep_pair(clips: ClipStore, sides: dict[str, Side]) -> tuple[float, dict[str, dict[str, Any]]]:
    """Match the clips of "left" and "right" and keep them.

    Returns:
        Their length in s, and what is known of each side, `audio_sha256` among it.
    """
    # Listeners prefer the louder of two clips, whatever it plays.
    waves = audio.match_pair(sides["left"].waveform, sides["right"].waveform)
    known = {}
    for name, wave in zip(SIDES, waves, strict=True):
        data = audio.wav_bytes(wave)
        # A name that says nothing of the model, and the same bytes are kept once.
        digest = hashlib.sha256(data).hexdigest()
        clips.write(digest, data)
        known[name] = sides[name].about | {"audio_sha256": digest}
    return waves[0].duration_s, known


def read_pair(clips: ClipStore, sides: dict[str, dict[str, Any]], key: str) -> dict[str, str]:
    """The WAV files of A and B as base64, as one showing has them.

    They sound as they did, and no byte of sound says that they were shown before: both are turned
    down by the same little, and each has a noise below hearing. The same `key`, which nobody else
    can know, gives the same files.
    """
    drawn = random.Random(key)
    level_db, padding = -LEVEL_DB * drawn.random(), 2 * drawn.randrange(PADDING)
    found = {}
    for letter, side in sides.items():
        data = clips.read(side["audio_sha256"])
        seed = int.from_bytes(hashlib.sha256(f"{key} {letter}".encode()).digest())
        found[letter] = b64encode(audio.varied(data, seed, level_db, padding)).decode()
    return found
