"""Sounds: what programs send to be scored, a clip of this server or a file in base64."""

import base64
import binascii
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from simba_music.errors import RequestError
from simba_music.ui.questions import served_file

if TYPE_CHECKING:  # see ui.opening
    from simba_music.audio import Waveform

MOST_MB = 8
LONGEST_S = 60.0


def received(sound: object) -> "Waveform":
    """The sound itself, of at most `LONGEST_S`.

    Args:
        sound: the address or path of a clip in Gradio's cache, or a sound file in base64.

    Raises:
        RequestError: If it is neither, or cannot be read.
    """
    if not isinstance(sound, str) or not sound:
        raise RequestError(
            "audio must be the address of a clip of this server, or a sound file in base64."
        )
    if len(sound) > MOST_MB * 4 / 3 * 1e6:
        raise RequestError(f"audio is larger than {MOST_MB} MB. Send a shorter file, or FLAC.")
    path = served_file(sound)
    if path is not None:
        return _read(path)
    try:
        data = base64.b64decode(sound.rpartition("base64,")[2], validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(
            "audio is no base64, and no clip that this server still has. Send the file in base64."
        ) from error
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return _read(Path(file.name), "audio")


def _read(path: Path, name: str = "") -> "Waveform":
    from simba_music import audio

    try:
        wave = audio.read(path)
    except RequestError as error:
        raise RequestError(str(error).replace(str(path), name or path.name)) from error
    if wave.duration_s > LONGEST_S:
        raise RequestError(
            f"The sound is {wave.duration_s:.0f} s long; at most {LONGEST_S:.0f} s are scored."
        )
    return wave
