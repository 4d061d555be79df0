"""Guard: around every request to the page: bodies capped, doors shut, headers, who asks, counts."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from simba_music.listening.votes.ballot import visitor
from simba_music.serving.addresses import Scope, address_of
from simba_music.serving.metrics import Requests

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BYTES = 256 * 1024  # of a body; a vote of hours of switching has less
BODY_S = 20.0  # in which a body must have come
# Doors of Gradio that this page has no use for: files from visitors, copies of a page's state,
# requests made in the host's name, and editing.
SHUT = (
    "upload",
    "upload_progress",
    "process_recording",
    "deep_link",
    "proxy=",
    "stream",
    "vibe-",
    "undo-vibe-edit",
    "run-history",
    "runs",
    "dev",
)
_API, _PAGES = "/gradio_api/", ("/monitoring",)
HEADERS = {
    # A Space is shown in a frame of the Hub's own pages.
    "content-security-policy": "frame-ancestors 'self' https://huggingface.co "
    "https://*.huggingface.co https://*.hf.space; base-uri 'self'; object-src 'none'; "
    "form-action 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "strict-origin-when-cross-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class _RefusedError(Exception):
    """A request that goes no further."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


def is_shut(path: str) -> bool:
    """Whether nothing is served at a path, though Gradio would."""
    if any(path == page or path.startswith(page + "/") for page in _PAGES):
        return True
    name = path.partition(_API)[2]
    whole = name.partition("/")[0]
    return any(whole == door or door[-1] in "=-" and name.startswith(door) for door in SHUT)


class Guard:
    """ASGI middleware."""

    def __init__(self, app: App, requests: Requests):
        self.app, self.requests = app, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), [500]
        asks = visitor.set(address_of(scope))

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        try:
            if is_shut(scope["path"]):
                raise _RefusedError(404, "There is nothing here; this page takes no files.")
            read = await _whole(scope, receive)
            await self.app(scope, read, answer)
        except _RefusedError as refused:
            await _say(answer, refused.status, str(refused))
        finally:
            visitor.reset(asks)
            self.requests.note(scope["method"], status[0], time.monotonic() - began)


async def _whole(scope: Scope, receive: Receive) -> Receive:
    """The body of a request, read before anything else sees it, so that none is read beyond a cap.

    Raises:
        _RefusedError: If it is too long, or takes too long to come.
    """
    if scope["method"] in ("GET", "HEAD", "OPTIONS"):
        return receive
    said = dict(scope["headers"]).get(b"content-length", b"0")
    too_long = _RefusedError(413, f"A request may have {MOST_BYTES // 1024} kB. Send less.")
    if not said.isdigit() or int(said) > MOST_BYTES:
        raise too_long
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(BODY_S):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return receive
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > MOST_BYTES:
                    raise too_long
    except TimeoutError as error:
        raise _RefusedError(408, "The request took too long to come. Try again.") from error
    sent = False

    async def read() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return read


async def _say(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
