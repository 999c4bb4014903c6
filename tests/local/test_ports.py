from __future__ import annotations

import socket

import pytest

from planmesh.errors import ServiceUnavailable
from planmesh.local.ports import LOOPBACK, free_port, require_free


def test_a_taken_port_is_named_with_its_holder_and_a_way_out() -> None:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(ServiceUnavailable, match=rf"port {port} is taken.*--port") as caught:
            require_free(port)
        assert caught.value.metadata == {"port": str(port)}


def test_a_port_shared_by_so_reuseport_counts_as_taken() -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((LOOPBACK, 0))
        listener.listen()
        with pytest.raises(ServiceUnavailable):
            require_free(listener.getsockname()[1])


def test_a_free_port_is_accepted() -> None:
    require_free(free_port())
