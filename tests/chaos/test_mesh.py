"""How a mesh for fault injection changes the processes that it starts, without starting any."""

from __future__ import annotations

from pathlib import Path

import pytest

from planmesh.chaos.mesh import ChaosMesh
from planmesh.chaos.proxies import Proxies
from planmesh.errors import ServiceUnavailable
from planmesh.local.child import DEATHS_MAX, DEATHS_WINDOW_S, ChildSpec
from planmesh.local.options import MeshOptions

REDIS_URL = "redis://:pass%40word@127.0.0.1:6379/0"


def spec(name: str, **variables: str) -> ChildSpec:
    return ChildSpec(name, ("command",), variables)


def options(folder: Path) -> MeshOptions:
    return MeshOptions(folder, 4, 2, port=0)


def test_addresses_lead_through_proxies_and_the_password_stays(tmp_path: Path) -> None:
    with Proxies() as proxies:
        mesh = ChaosMesh(options(tmp_path), proxies)
        adapted = mesh.adapt(spec("worker-1", PLANMESH_REDIS_URL=REDIS_URL, OTHER="kept"))
        gateway = mesh.adapt(
            spec("gateway", PLANMESH_COORDINATOR_ADDRESS="unix:/c.sock", PLANMESH_PARTITION_ADDRESS="unix:/p.sock")
        )
        ports = {line: proxies.port(line, "127.0.0.1:1") for line in proxies.lines}
    assert adapted.environment["PLANMESH_REDIS_URL"] == f"redis://:pass%40word@127.0.0.1:{ports['worker-1-redis']}/0"
    assert adapted.environment["OTHER"] == "kept"
    assert gateway.environment["PLANMESH_COORDINATOR_ADDRESS"] == f"127.0.0.1:{ports['gateway-coordinator']}"
    assert mesh.redis_urls == (REDIS_URL,), "the mesh's own connections bypass the proxies"


def test_without_proxies_addresses_stay(tmp_path: Path) -> None:
    adapted = ChaosMesh(options(tmp_path), None).adapt(spec("worker-0", PLANMESH_REDIS_URL=REDIS_URL))
    assert dict(adapted.environment) == {"PLANMESH_REDIS_URL": REDIS_URL}


def test_overrides_apply_to_later_starts_until_they_are_removed(tmp_path: Path) -> None:
    mesh = ChaosMesh(options(tmp_path), None)
    adapted = mesh.adapt(spec("coordinator", A="1"))
    mesh.override("coordinator", {"A": "2", "B": "3"})
    assert dict(adapted.environment) == {"A": "2", "B": "3"}
    mesh.override("coordinator", {})
    assert dict(adapted.environment) == {"A": "1"}


async def test_a_death_waits_until_the_supervisor_would_restart_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("planmesh.chaos.mesh.asyncio.sleep", sleep)
    mesh = ChaosMesh(options(tmp_path), None)
    for _ in range(DEATHS_MAX):
        await mesh._wait_for_room("worker-0")
    await mesh._wait_for_room("worker-1")
    (wait_s,) = waits
    assert wait_s > DEATHS_WINDOW_S - 1


def test_a_stopped_mesh_has_no_state(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable, match="the mesh stopped during an experiment"):
        _ = ChaosMesh(options(tmp_path), None).state
