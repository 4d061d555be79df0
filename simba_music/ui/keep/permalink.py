"""Permalink: prompt and settings as the short text behind `?r=`; nothing is kept anywhere."""

import base64
import binascii
import zlib
from dataclasses import asdict
from typing import Literal

from pydantic import Field, ValidationError

from simba_music.conditioning.request import Request
from simba_music.errors import RequestError
from simba_music.files import StrictModel, first_problem

Setting = str | int | float | bool
LONGEST = 4096  # characters of a link's text; servers and chats cut longer addresses
_LONGEST_JSON = 16_384  # bytes, of what a few bytes may be unpacked to
# What a link of version 1 leaves out; it stays as it is when the app's own defaults change.
_DEFAULTS_1: dict[str, Setting] = {
    "duration_s": 10.0,
    "seed": 0,
    "takes": 1,
    "temperature": 1.0,
    "top_k": 100,
    "top_p": 1.0,
    "guidance": 4.5,
    "negative": "",
    "draw": True,
}


class Link(StrictModel):
    """What a link says: a version, the prompt, settings that are not the default, the models."""

    version: Literal[1] = Field(alias="v")
    prompt: str = Field(alias="p", min_length=1, max_length=4000)
    settings: dict[str, Setting] = Field(alias="s", default={}, max_length=20)
    grown_s: list[float] = Field(alias="g", default=[], max_length=32)
    models: list[str] = Field(alias="m", default=[], max_length=2)


def link_of(request: Request, models: list[str]) -> str:
    """The text behind `?r=` of a request and the models of both sides.

    Raises:
        RequestError: If it is longer than `LONGEST`.
    """
    fields = asdict(request)
    prompt = fields.pop("prompt")
    grown = list(fields.pop("grown_s"))
    fields.pop("subseed")  # each side has its own, which its request leads to again
    other = {name: value for name, value in fields.items() if value != _DEFAULTS_1.get(name)}
    link = Link(v=1, p=prompt, s=other, g=grown, m=models)
    raw = link.model_dump_json(by_alias=True, exclude_defaults=True).encode()
    text = base64.urlsafe_b64encode(zlib.compress(raw, 9)).decode().rstrip("=")
    if len(text) > LONGEST:
        raise RequestError("This prompt is too long for a link. Download the recipe instead.")
    return text


def read_link(text: str) -> Link:
    """What `link_of` was given, settings complete; their names and values are unchecked.

    Raises:
        RequestError: If it is no such link, or one of a later version.
    """
    broken = "This link is incomplete or was changed. Ask for it again, or type the prompt."
    if len(text) > LONGEST:
        raise RequestError(f"{broken} It has {len(text)} characters, {LONGEST} at most.")
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        unpacking = zlib.decompressobj()
        raw = unpacking.decompress(packed, _LONGEST_JSON)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise RequestError(broken) from error
    if not unpacking.eof or unpacking.unused_data:
        raise RequestError(broken)
    try:
        link = Link.model_validate_json(raw)
    except ValidationError as error:
        where, problem = first_problem(error, "link")
        if where == "v":
            raise RequestError(
                "This link is of a later version of SiMBA Music. Update it, or type the prompt."
            ) from error
        raise RequestError(f"{broken} ({where}: {problem})") from error
    return link.model_copy(update={"settings": _DEFAULTS_1 | link.settings})
