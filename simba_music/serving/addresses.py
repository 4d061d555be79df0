"""Addresses: who asks, behind whatever proxies, without believing what a visitor can forge."""

import ipaddress
from collections.abc import MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]  # of ASGI
_FORWARDED = (b"x-forwarded-for", b"forwarded")


def address_of(scope: Scope) -> str | None:
    """The address of whoever sent a request; None at the host's own machine, with no proxy.

    Each proxy adds at the right of `X-Forwarded-For` whom it was asked by, and a visitor can write
    anything at the left. So from the right, beginning with the peer itself, the first address is
    taken that is on the internet; if there is none, the first that is not this machine's.
    """
    headers = [(name.lower(), value) for name, value in scope.get("headers", ())]
    peer = (scope.get("client") or ("",))[0]
    if _known(peer, "is_loopback") and not any(name in _FORWARDED for name, _ in headers):
        return None
    listed = b",".join(value for name, value in headers if name == _FORWARDED[0]).decode("latin-1")
    chain = [part for part in map(_bare, [*listed.split(","), peer]) if part]
    chain.reverse()
    outside = [each for each in chain if _known(each, "is_global")]
    others = [each for each in chain if not _known(each, "is_loopback")]
    return str((outside or others or [peer])[0])


def _known(text: str, what: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(text), what))
    except ValueError:
        return False


def _bare(text: str) -> str:
    """An address without the port and brackets that some proxies write."""
    text = text.strip()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
