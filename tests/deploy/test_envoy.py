"""The balancer's configuration, as far as planmesh's calls depend on it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def manager() -> dict[str, Any]:
    """Return the HTTP connection manager in front of the gateways."""
    configuration = yaml.safe_load((ROOT / "deploy" / "envoy" / "envoy.yaml").read_text())
    (listener,) = configuration["static_resources"]["listeners"]
    found: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def test_no_timeout_of_the_balancer_ends_a_load(manager: dict[str, Any]) -> None:
    """While a graph is built nothing travels on the stream, so an idle timeout would end every long build's call."""
    first, *_ = manager["route_config"]["virtual_hosts"][0]["routes"]
    assert first["match"]["path"] == "/planmesh.v1.GraphService/LoadGraph"
    assert (first["route"]["timeout"], first["route"]["idle_timeout"]) == ("0s", "0s")
    assert "retry_policy" not in first["route"], "a stream cannot be retried"


def test_disconnected_callers_are_noticed_without_a_timeout(manager: dict[str, Any]) -> None:
    assert set(manager["http2_protocol_options"]["connection_keepalive"]) == {"interval", "timeout"}
