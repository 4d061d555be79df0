"""Who asks: proxies are believed from the right, and nothing that a visitor wrote at the left."""

import pytest

from simba_music.serving.addresses import address_of


def scope(peer, *forwarded, name=b"x-forwarded-for"):
    return {"client": (peer, 1), "headers": [(name, text.encode()) for text in forwarded]}


@pytest.mark.fault("R4", "a forged X-Forwarded-For changes nobody's address")
@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("127.0.0.1", [], None),
        ("::1", [], None),
        ("127.0.0.1", ["8.8.8.8"], "8.8.8.8"),
        ("8.8.4.4", ["1.1.1.1"], "8.8.4.4"),  # the peer itself is on the internet
        ("10.0.0.7", ["6.6.6.6, 8.8.8.8, 10.1.2.3"], "8.8.8.8"),  # what stands left is forged
        ("10.0.0.7", ["6.6.6.6", "8.8.8.8"], "8.8.8.8"),
        ("10.0.0.7", ["8.8.8.8:4711"], "8.8.8.8"),
        ("10.0.0.7", ["[2001:4860:4860::8888]:80"], "2001:4860:4860::8888"),
        ("192.168.1.5", [], "192.168.1.5"),
        ("192.168.1.5", ["rubbish"], "192.168.1.5"),
        ("127.0.0.1", ["203.0.113.9"], "203.0.113.9"),
    ],
)
def test_the_address_is_the_rightmost_on_the_internet(peer, forwarded, found):
    assert address_of(scope(peer, *forwarded)) == found


def test_a_proxy_that_hides_the_visitor_is_not_the_host():
    assert address_of(scope("127.0.0.1", "for=x", name=b"forwarded")) is not None
    assert address_of({"client": None, "headers": []}) is not None
