"""Questions: what the scripts of a page and programs ask, and errors as answers they can show."""

import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.utils import get_upload_folder

from simba_music.errors import RequestError
from simba_music.errors.incidents import user_message
from simba_music.listening.votes.ballot import VoteError

if TYPE_CHECKING:  # see ui.opening
    from simba_music.listening.trials import ListeningTest

Answer = dict[str, Any]  # as JSON, with "error" where there is one
LONGEST = 65_536  # characters of a field; recipes of two clips of the longest prompt have a third
_LONGEST_ADDRESS = 4096


def answered(work: Callable[[Answer], Answer], data: Any) -> Answer:
    """What `work` makes of a question; an error becomes an answer that says what to do."""
    try:
        if not isinstance(data, dict):
            raise RequestError("A question to this page is an object with named fields.")
        return work(data)
    except Exception as error:
        return {"error": user_message(error)}


@contextmanager
def sentences() -> Iterator[None]:
    """Within it, errors reach pages and programs as sentences.

    Raises:
        gr.Error: Instead of any other error.
    """
    try:
        yield
    except gr.Error:
        raise
    except Exception as error:
        raise gr.Error(user_message(error), print_exception=False) from error


def text_field(data: Mapping[str, Any], name: str, longest: int = LONGEST) -> str:
    """A text of a question.

    Raises:
        RequestError: If it is missing, no text, or too long.
    """
    value = data.get(name)
    if not isinstance(value, str):
        raise RequestError(f"{name} is missing. Reload the page.")
    if len(value) > longest:
        raise RequestError(f"{name} has {len(value)} characters; at most {longest} are read.")
    return value


def is_local(request: gr.Request) -> bool:
    """Whether a visitor sits at the machine that serves the page, with no proxy between."""
    forwarded = {"x-forwarded-for", "forwarded"} & {key.lower() for key in request.headers}
    host = request.client.host if request.client else ""
    return host in ("127.0.0.1", "::1") and not forwarded


def listener_of(test: "ListeningTest", signed: object, local: bool) -> tuple[str, str]:
    """A listener's signed name and id; a new one where the browser has none that is known."""
    if isinstance(signed, str):
        with suppress(VoteError):
            return signed, test.listener_id_of(signed)
    made = test.new_listener(local)
    return made, test.listener_id_of(made)


def served_file(address: str) -> Path | None:
    """The file in Gradio's cache behind an address or path; nothing else can be named."""
    if len(address) > _LONGEST_ADDRESS:
        return None
    cache = Path(get_upload_folder()).resolve()
    try:
        path = Path(urllib.parse.unquote(address.rpartition("/file=")[2])).resolve()
        return path if path.is_relative_to(cache) and path.is_file() else None
    except (OSError, ValueError):  # a name that no file can have
        return None
