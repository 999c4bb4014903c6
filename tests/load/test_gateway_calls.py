"""Which gateways a load test may target."""

from __future__ import annotations

import pytest

from load.gateway_calls import loopback_target


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051"),
        ("localhost:1", "localhost:1"),
        ("[::1]:50051", "[::1]:50051"),
        ("grpc://127.0.0.2:50051/", "127.0.0.2:50051"),
    ],
)
def test_this_machine_is_accepted(host: str, target: str) -> None:
    assert loopback_target(host) == target


@pytest.mark.parametrize(
    "host", ["", "127.0.0.1", "10.0.0.1:50051", "gateway.example:50051", "127.0.0.1:http", "localhost.example:1"]
)
def test_other_machines_are_refused(host: str) -> None:
    with pytest.raises(ValueError, match="expected a gateway on this machine"):
        loopback_target(host)
