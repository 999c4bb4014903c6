"""The address that a call came from, also when a proxy handed it on.

A proxy appends the address that it was called from to `x-forwarded-for`. Anybody can send that header, so it is read
only when the peer is a proxy that the settings trust, and only as far back as there are such proxies. What stands
further left is the word of a stranger.
"""

from __future__ import annotations

import ipaddress
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from planmesh.settings import SettingsError

FORWARDED_FOR: Final = "x-forwarded-for"
UNIX: Final = "unix"
"""Names, among trusted proxies, those that call by a unix socket; also the caller's name when no proxy does."""
VARIABLE: Final = "PLANMESH_GATEWAY_TRUSTED_PROXIES"
IPV6_PREFIX_BITS: Final = 64
"""One host usually has all addresses of such a network, and would else be as many callers as it likes."""

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """Whose `x-forwarded-for` is believed: nobody's by default."""

    networks: tuple[Network, ...] = ()
    unix: bool = False
    hops: int = 1
    """Trusted proxies that a call passes, one behind the other."""

    @classmethod
    def parse(cls, text: str, hops: int) -> TrustedProxies:
        """Of networks and `unix`, separated by commas: "10.0.0.0/8, fd00::/8, unix". Raises SettingsError."""
        names = [name.strip() for name in text.split(",") if name.strip()]
        try:
            networks = tuple(ipaddress.ip_network(name) for name in names if name != UNIX)
        except ValueError as error:
            raise SettingsError(
                f"{VARIABLE}: expected networks such as 10.0.0.0/8, addresses or {UNIX!r}, separated by commas: {error}"
            ) from error
        return cls(networks, UNIX in names, hops)

    def caller(self, peer: str, metadata: Iterable[tuple[str, str | bytes]]) -> str:
        """A name for who called: an IPv4 address, a network of IPv6_PREFIX_BITS, or UNIX.

        `peer` is gRPC's: "ipv4:127.0.0.1:40312", "ipv6:%5B::1%5D:40312", "unix:".
        """
        address = _peer_address(peer)
        trusted = self.unix if address is None else any(address in network for network in self.networks)
        if trusted:
            address = self._forwarded(metadata) or address
        if address is None:
            return UNIX
        if address.version == 6:
            return str(ipaddress.ip_network((int(address), IPV6_PREFIX_BITS), strict=False))
        return str(address)

    def _forwarded(self, metadata: Iterable[tuple[str, str | bytes]]) -> Address | None:
        """The address that the outermost trusted proxy was called from; None when no proxy says it.

        When fewer proxies than `hops` have appended theirs, it is the first of what they have.
        """
        values = [value for key, value in metadata if key == FORWARDED_FOR]
        whole = ",".join(value if isinstance(value, str) else value.decode("latin-1") for value in values)
        return _address(whole.rsplit(",", self.hops)[-self.hops :][0])


def _peer_address(peer: str) -> Address | None:
    """None for a unix socket and for whatever else is no address."""
    scheme, _, rest = peer.partition(":")
    return _address(urllib.parse.unquote(rest)) if scheme in {"ipv4", "ipv6"} else None


def _address(text: str) -> Address | None:
    """An address with or without a port: "10.0.0.1", "10.0.0.1:80", "::1", "[::1]:80"."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    # An IPv4 peer of a socket that takes both.
    return (found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None) or found
