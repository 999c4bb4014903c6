"""A port that several servers share, and that no other program may take."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from planmesh.errors import ServiceUnavailable
from planmesh.rpc.server import make_server
from planmesh.rpc.shared_port import bound_socket, reserve_port
from planmesh.telemetry.tracing import make_telemetry

NAME = "planmesh.test.EchoService"


async def test_servers_share_a_reserved_port_and_others_cannot_take_it(stage: Any) -> None:
    reservation, address = reserve_port("127.0.0.1:0")
    with reservation:
        with pytest.raises(ServiceUnavailable, match="Address already in use"):
            reserve_port(address)  # before a server listens, too
        sharing = [make_server([stage.service()], [address], make_telemetry("test"), shares_ports=True) for _ in "12"]
        for server in sharing:
            await server.start()
            assert server.addresses == (address,)
        alone = make_server([stage.service()], [address], make_telemetry("test"))
        for _ in range(2):
            with pytest.raises(ServiceUnavailable, match="Address already in use"):
                await alone.start()
        with pytest.raises(ServiceUnavailable, match="Address already in use"):
            reserve_port(address)
        assert await stage.channel(sharing[0]).unary_unary(f"/{NAME}/Unary")(b"x") == b"x"
        for server in (*sharing, alone):
            await server.stop(0)


def test_a_reserved_port_is_free_again_when_the_reservation_ends() -> None:
    reservation, address = reserve_port("127.0.0.1:0")
    with pytest.raises(OSError, match="Address already in use"):
        bound_socket(address)
    reservation.close()
    bound_socket(address).close()


@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # refused before anything listens
def test_a_port_on_which_a_program_listens_is_refused_by_its_address(shares: bool, host: str) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shares)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"{host}:{taken.getsockname()[1]}"
        with pytest.raises(ServiceUnavailable, match=f"cannot listen on {address}: .*Address already in use"):
            reserve_port(address)


@pytest.mark.parametrize("address", ["a..b:50051", "127.0.0.1:words"])
def test_an_impossible_address_is_refused_by_name(address: str) -> None:
    with pytest.raises(ServiceUnavailable, match=f"cannot listen on {address}"):
        reserve_port(address)
