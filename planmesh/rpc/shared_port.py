"""A port on which several processes of one program listen, and no other program.

With SO_REUSEPORT, the kernel gives each new connection to one of the processes that listen on a port. Any process of
the same user may join them, so a second program that is started by mistake would take its share of the calls without an
error. A parent that reserves the port prevents that: its own binding fails if another program listens.
"""

from __future__ import annotations

import socket

from planmesh.errors import ServiceUnavailable


def bound_socket(address: str) -> socket.socket:
    """Return a socket that is bound to `host:port`, and does not listen. Raises OSError or UnicodeError."""
    host, _, port = address.rpartition(":")
    family, kind, protocol, _, target = socket.getaddrinfo(
        host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        # Connections of an earlier process that the kernel still remembers do not prevent a start.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(target)
    except BaseException:
        bound.close()
        raise
    return bound


def reserve_port(address: str) -> tuple[socket.socket, str]:
    """Reserve the port of `host:port` for child processes; return the reservation, and the address with the real port.

    Servers with `shares_ports` can listen on it until the socket is closed. It never listens itself, so it gets no
    connections. Raises ServiceUnavailable when the port is in use.
    """
    try:
        reserved = bound_socket(address)
    except (OSError, UnicodeError) as error:
        raise ServiceUnavailable(f"cannot listen on {address}: {error}", address=address) from error
    # After the binding, not before it: the binding itself has to fail if another program shares the port.
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # Without this, a second parent could reserve the port before the first one's children listen.
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return reserved, f"{address.rpartition(':')[0]}:{reserved.getsockname()[1]}"
