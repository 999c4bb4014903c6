"""Behind Envoy, gateways distinguish callers by the address that Envoy forwards, because they trust it."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.gateway.forwarded import TrustedProxies

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = "PLANMESH_GATEWAY_TRUSTED_PROXIES"


def of_compose() -> str:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    gateway = compose["services"]["gateway"]
    assert "ports" not in gateway, "a published port would admit callers from a trusted network without Envoy"
    return str(gateway["environment"][VARIABLE])


def of_kubernetes() -> str:
    deployment = next(iter(yaml.safe_load_all((ROOT / "deploy/kubernetes/base/gateway.yaml").read_text())))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return next(str(item["value"]) for item in container["env"] if item["name"] == VARIABLE)


def test_envoy_appends_the_address_that_it_was_called_from() -> None:
    envoy: Any = yaml.safe_load((ROOT / "deploy/envoy/envoy.yaml").read_text())
    managers = [
        one["typed_config"]
        for listener in envoy["static_resources"]["listeners"]
        for chain in listener["filter_chains"]
        for one in chain["filters"]
    ]
    assert [manager["use_remote_address"] for manager in managers] == [True]
    assert not any("skip_xff_append" in manager for manager in managers)


@pytest.mark.parametrize("read", [of_compose, of_kubernetes])
def test_gateways_trust_private_networks_and_no_other(read: Any) -> None:
    proxies = TrustedProxies.parse(read(), 1)
    assert proxies.caller("ipv4:172.18.0.5:1", (("x-forwarded-for", "1.1.1.1, 203.0.113.5"),)) == "203.0.113.5"
    assert not proxies.unix
    assert not any(network.is_global for network in proxies.networks)
    assert all(network.prefixlen >= 8 for network in proxies.networks)
    assert ipaddress.ip_network("10.0.0.0/8") in proxies.networks
