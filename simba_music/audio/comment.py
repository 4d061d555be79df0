"""Comment: the words that a sound file carries about itself, of WAV, FLAC and Ogg alike."""

from pathlib import Path

from simba_music.errors import RequestError

LONGEST = 65_536  # characters


def read_comment(path: str | Path) -> str | None:
    """What `Tags.comment` wrote into a file; None where it has no comment.

    Raises:
        RequestError: If the file cannot be read, or its comment is longer than any of ours.
    """
    # Not before it is needed: it brings all of FFmpeg's libraries.
    import av

    if not Path(path).is_file():
        raise RequestError(f"{path} is no file.")
    try:
        # Its own protocol alone: a playlist may not make us open other files or addresses.
        with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as file:
            streams = [stream.metadata for stream in file.streams.audio]
            said = {
                name.lower(): text
                for words in (file.metadata, *streams)
                for name, text in words.items()
            }
    except (av.error.FFmpegError, ValueError, OSError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise RequestError(f"{path}: FFmpeg cannot read it: {why}.") from error
    comment = said.get("comment")
    if comment is not None and len(comment) > LONGEST:
        raise RequestError(f"{path}: its comment is longer than {LONGEST} characters.")
    return comment
