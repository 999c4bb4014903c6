"""TCP ports of this machine."""

from __future__ import annotations

import errno
import socket
from typing import Final

import psutil

from planmesh.errors import ServiceUnavailable

LOOPBACK: Final = "127.0.0.1"


def free_port() -> int:
    """Return a port that is free at the moment; another process may take it."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def require_free(port: int) -> None:
    """Raise ServiceUnavailable, with the holder's name, if `port` is taken or not allowed.

    gRPC servers silently share a port (SO_REUSEPORT), so check before starting one.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ServiceUnavailable(
                    f"port {port} is taken{_holder(port)}; choose another with --port, or --port 0 for any free one",
                    port=str(port),
                ) from error
            raise ServiceUnavailable(
                f"port {port} cannot be listened on: {error.strerror}; choose another with --port", port=str(port)
            ) from error


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            local = connection.laddr
            if connection.status == psutil.CONN_LISTEN and connection.pid and local and local.port == port:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        return ""  # processes of other users are hidden, but the port is taken all the same
    return ""
