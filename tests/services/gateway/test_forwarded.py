from __future__ import annotations

import pytest

from planmesh.settings import SettingsError
from services.gateway.forwarded import TrustedProxies

PROXY = "ipv4:10.1.2.3:40000"
STRANGER = "ipv4:198.51.100.7:40000"


def caller(*forwarded: str | bytes, peer: str = PROXY, trusted: str = "10.0.0.0/8, fd00::/8", hops: int = 1) -> str:
    metadata = [("x-other", "1"), *(("x-forwarded-for", value) for value in forwarded)]
    return TrustedProxies.parse(trusted, hops).caller(peer, metadata)


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("ipv4:127.0.0.1:40312", "127.0.0.1"),
        ("ipv6:%5B::1%5D:40312", "::/64"),
        ("ipv6:[2001:db8:1:2:3:4:5:6]:40312", "2001:db8:1:2::/64"),
        ("ipv6:%5B2001:db8:1:2::9%5D:1", "2001:db8:1:2::/64"),
        ("ipv6:%5Bfe80::1%25eth0%5D:40312", "fe80::/64"),
        ("ipv6:%5B::ffff:10.0.0.1%5D:40312", "10.0.0.1"),
        ("unix:", "unix"),
        ("unix:/run/planmesh.sock", "unix"),
        ("", "unix"),
    ],
)
def test_a_peer_is_named_by_its_address(peer: str, name: str) -> None:
    assert TrustedProxies().caller(peer, ()) == name


@pytest.mark.parametrize("forwarded", ["203.0.113.5", "10.1.2.9, 203.0.113.5", "unix"])
def test_by_default_no_header_is_trusted(forwarded: str) -> None:
    assert TrustedProxies().caller(PROXY, (("x-forwarded-for", forwarded),)) == "10.1.2.3"
    assert TrustedProxies().caller("unix:", (("x-forwarded-for", forwarded),)) == "unix"


def test_the_header_of_an_untrusted_peer_is_ignored() -> None:
    assert caller("203.0.113.5", peer=STRANGER) == "198.51.100.7"
    assert caller("203.0.113.5", peer="unix:") == "unix"
    assert caller("203.0.113.5", peer=STRANGER, trusted="unix") == "198.51.100.7"


@pytest.mark.parametrize(
    ("forwarded", "name"),
    [
        ("203.0.113.5", "203.0.113.5"),
        # Entries that the caller wrote itself are further left, even if they look like ours.
        ("1.1.1.1, 203.0.113.5", "203.0.113.5"),
        ("1.1.1.1,10.0.0.1,203.0.113.5", "203.0.113.5"),
        # A caller inside the trusted network counts like any other.
        ("1.1.1.1, 10.9.9.9", "10.9.9.9"),
        (" 203.0.113.5:8080 ", "203.0.113.5"),
        ("[2001:db8:1:2::9]:8080", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        (b"203.0.113.5", "203.0.113.5"),
        # Without a valid address, the proxy itself counts as the caller.
        ("", "10.1.2.3"),
        ("unknown", "10.1.2.3"),
        ("203.0.113.5,", "10.1.2.3"),
        ("203.0.113.999", "10.1.2.3"),
        (b"\xff\xfe", "10.1.2.3"),
        ("[", "10.1.2.3"),
        ("9" * 20_000, "10.1.2.3"),
    ],
)
def test_a_trusted_proxy_names_the_caller(forwarded: str | bytes, name: str) -> None:
    assert caller(forwarded) == name


def test_several_headers_are_one_list() -> None:
    assert caller("203.0.113.5", "203.0.113.6") == "203.0.113.6"
    assert caller("203.0.113.5", "203.0.113.6", hops=2) == "203.0.113.5"


def test_several_proxies_each_append_an_address() -> None:
    assert caller("1.1.1.1, 203.0.113.5, 192.0.2.9", hops=2) == "203.0.113.5"
    assert caller("1.1.1.1, 203.0.113.5, 192.0.2.9", hops=3) == "1.1.1.1"
    # The call bypassed the outer proxy, so the inner one's entry is the only one.
    assert caller("203.0.113.5", hops=2) == "203.0.113.5"


def test_a_proxy_may_use_a_unix_socket() -> None:
    assert caller("203.0.113.5", peer="unix:", trusted="unix") == "203.0.113.5"
    assert caller(peer="unix:", trusted="unix") == "unix"


@pytest.mark.parametrize("text", ["10.0.0.1/8", "proxy", "10.0.0.0/33", "10.0.0.0/8;fd00::/8", "Unix"])
def test_invalid_networks_are_a_settings_error(text: str) -> None:
    with pytest.raises(SettingsError, match="PLANMESH_GATEWAY_TRUSTED_PROXIES"):
        TrustedProxies.parse(text, 1)


def test_networks_are_separated_by_commas() -> None:
    parsed = TrustedProxies.parse(" 10.0.0.0/8 ,fd00::/8,, unix, 192.0.2.1", 1)
    assert [str(network) for network in parsed.networks] == ["10.0.0.0/8", "fd00::/8", "192.0.2.1/32"]
    assert parsed.unix
    assert TrustedProxies.parse("", 1) == TrustedProxies()
