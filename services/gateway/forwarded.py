"""Finds the address from which a call came, also behind proxies.

A proxy appends the address of its caller to `x-forwarded-for`. Any client can send that header, so the gateway reads it
only from a proxy that the settings trust, and only as many entries as there are such proxies. Entries further left may
be forged.
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
"""Among trusted proxies: those that call over a unix socket. Also the name of a caller without an address."""
VARIABLE: Final = "PLANMESH_GATEWAY_TRUSTED_PROXIES"
IPV6_PREFIX_BITS: Final = 64
"""IPv6 callers are grouped by networks of this length. A host usually has all addresses of such a network, and could
otherwise act as any number of callers."""

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The proxies whose `x-forwarded-for` is trusted; none by default."""

    networks: tuple[Network, ...] = ()
    unix: bool = False
    hops: int = 1
    """Number of trusted proxies in a row that a call passes."""

    @classmethod
    def parse(cls, text: str, hops: int) -> TrustedProxies:
        """Parse networks and `unix`, separated by commas: "10.0.0.0/8, fd00::/8, unix". Raises SettingsError."""
        names = [name.strip() for name in text.split(",") if name.strip()]
        try:
            networks = tuple(ipaddress.ip_network(name) for name in names if name != UNIX)
        except ValueError as error:
            raise SettingsError(
                f"{VARIABLE}: expected networks such as 10.0.0.0/8, addresses or {UNIX!r}, separated by commas: {error}"
            ) from error
        return cls(networks, UNIX in names, hops)

    def caller(self, peer: str, metadata: Iterable[tuple[str, str | bytes]]) -> str:
        """Return a name for the caller: an IPv4 address, an IPv6 network of IPv6_PREFIX_BITS, or UNIX.

        `peer` has gRPC's format: "ipv4:127.0.0.1:40312", "ipv6:%5B::1%5D:40312", "unix:".
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
        """Return the address that called the outermost trusted proxy; None when the header does not say it.

        When the header has fewer than `hops` entries, return the first of them.
        """
        values = [value for key, value in metadata if key == FORWARDED_FOR]
        whole = ",".join(value if isinstance(value, str) else value.decode("latin-1") for value in values)
        return _address(whole.rsplit(",", self.hops)[-self.hops :][0])


def _peer_address(peer: str) -> Address | None:
    """Return the IP address of a peer; None for a unix socket and for anything else."""
    scheme, _, rest = peer.partition(":")
    return _address(urllib.parse.unquote(rest)) if scheme in {"ipv4", "ipv6"} else None


def _address(text: str) -> Address | None:
    """Parse an address with or without a port: "10.0.0.1", "10.0.0.1:80", "::1", "[::1]:80". None for other texts."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A socket that accepts both protocols reports IPv4 peers as mapped IPv6 addresses.
    return (found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None) or found
