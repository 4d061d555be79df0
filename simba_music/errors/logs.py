"""Logs: lines of text or JSON that hold no token and no address, and no prompt unless asked for."""

import json
import logging
import math
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Literal

INCIDENTS = "incidents.jsonl"
_LOGGED_BYTES = 1_000_000  # of incidents; the file before it is kept too
_HIDDEN = (
    (re.compile(r"\b(hf|api|sk|ghp|gho)_[A-Za-z0-9]{6,}"), "[token]"),
    (re.compile(r"(?i)\b(bearer|token)(\s*[=:]?\s+|=)[A-Za-z0-9._~+/=-]{6,}"), r"\1 [token]"),
    (re.compile(r"(\w+://)[^\s/@:]*:[^\s/@]+@"), r"\1[password]@"),
    # What is signed stands behind the question mark.
    (re.compile(r"(https?://[^\s?\"'<>]+)\?[^\s\"'<>]+"), r"\1?[query]"),
    (re.compile(r"(?<![\w.])(?!127\.)(?:\d{1,3}\.){3}\d{1,3}(?![\w.])"), "[address]"),
    (
        re.compile(r"(?<![\w:.])(?=[0-9a-fA-F:]*[0-9a-fA-F]{2})(?:[0-9a-fA-F]{1,4}:){3,7}[0-9a-fA-F]{0,4}(?![\w:])"),  # noqa: E501
        "[address]",
    ),
    # A library's error repeats what it was given.
    (re.compile(r"input_value=.*?(?=, input_type=|\]|$)"), "input_value=[value]"),
    (re.compile(r"(?s)\[parameters: .*?\](?=\s|$)"), "[parameters]"),
)  # fmt: skip


class _Private:
    """Texts that the log leaves out while somebody works on them, and for a while after.

    After, since what fails is logged by whoever gets the error.
    """

    def __init__(self) -> None:
        self._texts = dict[str, float]()  # until when, by a monotonic clock
        self._lock = threading.Lock()

    def add(self, text: str, until: float) -> None:
        with self._lock:
            now = time.monotonic()
            self._texts = {known: end for known, end in self._texts.items() if end > now}
            self._texts[text] = until

    def hidden(self, line: str) -> str:
        with self._lock:
            texts = sorted(self._texts, key=len, reverse=True)
        for text in texts:
            for form in (text, repr(text)[1:-1], json.dumps(text)[1:-1]):
                line = line.replace(form, f"[prompt of {len(text)} characters]")
        return line


_private = _Private()
_SHORTEST = 4  # a shorter text would be found inside other words
_AFTER_S = 60.0


@contextmanager
def private(*texts: str) -> Iterator[None]:
    """While this lasts no line of the log holds these texts, unless the host asked for them."""
    kept = [text for text in texts if len(text) >= _SHORTEST]
    for text in kept:
        _private.add(text, math.inf)
    try:
        yield
    finally:
        for text in kept:
            _private.add(text, time.monotonic() + _AFTER_S)


def hidden(text: str, prompts: bool = False) -> str:
    """A text without tokens, passwords, signed queries and addresses; with prompts if so asked."""
    for pattern, instead in _HIDDEN:
        text = pattern.sub(instead, text)
    return text if prompts else _private.hidden(text)


class _Text(logging.Formatter):
    """Time and message, as a person reads them; an incident's traceback is left to its file."""

    def __init__(self, prompts: bool):
        super().__init__("%(asctime)s %(message)s")
        self.prompts = prompts

    def format(self, record: logging.LogRecord) -> str:
        if getattr(record, "incident", None) is not None:
            record = logging.makeLogRecord(record.__dict__ | {"exc_info": None, "exc_text": None})
        return hidden(super().format(record), self.prompts)


class _Json(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message; of an error where and what."""

    def __init__(self, prompts: bool):
        super().__init__()
        self.prompts = prompts

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": hidden(record.getMessage(), self.prompts),
        }
        incident = getattr(record, "incident", None)
        if incident is not None:
            line["incident"] = incident
        if record.exc_info and record.exc_info[1] is not None:
            shown = "".join(traceback.format_exception(record.exc_info[1]))
            line["error"] = hidden(shown, self.prompts)
        return json.dumps(line, ensure_ascii=False)


class _Incidents(RotatingFileHandler):
    """The file of incidents, there once one has happened."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "incident", None) is None:
            return
        try:
            Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
            super().emit(record)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Where the disk is full or closed, standard error has the line."""
        print(self.format(record), file=sys.stderr)


def configure(form: Literal["text", "json"], prompts: bool, folder: Path) -> None:
    """Send the log to standard error in this form, and incidents with tracebacks to a file.

    Args:
        form: of the lines.
        prompts: whether prompts may stand there.
        folder: of `incidents.jsonl`, where text lines leave the traceback; JSON lines hold it.
    """
    lines = logging.StreamHandler()
    lines.setFormatter(_Json(prompts) if form == "json" else _Text(prompts))
    handlers: list[logging.Handler] = [lines]
    if form == "text":
        kept = _Incidents(folder / INCIDENTS, maxBytes=_LOGGED_BYTES, backupCount=1, delay=True)
        kept.setFormatter(_Json(prompts))
        handlers.append(kept)
    logging.basicConfig(level=logging.INFO, handlers=handlers)
    for name, level in (
        ("httpx", logging.WARNING),  # the app asks itself whether it is up
        ("httpx2", logging.WARNING),  # whose lines hold signed addresses
        ("httpcore", logging.WARNING),
        ("httpcore2", logging.WARNING),
        ("alembic", logging.WARNING),
        ("huggingface_hub", logging.ERROR),  # our errors say what failed
    ):
        logging.getLogger(name).setLevel(level)
