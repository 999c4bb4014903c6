"""The processes of a local mesh: their environments, shards and order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from planmesh.local.folders import DataFolder
from planmesh.local.options import MeshOptions
from planmesh.local.processes import Addresses, base_environment, serving_specs


@pytest.fixture
def addresses() -> Addresses:
    return Addresses.within(Path("/run/planmesh-1"), 50051)


def test_variables_of_the_mesh_win_and_those_of_commands_are_dropped(
    tmp_path: Path, addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANMESH_DATA", "/elsewhere")
    monkeypatch.setenv("PLANMESH_ADDRESS", "example:1")
    monkeypatch.setenv("PLANMESH_SHARDS", "99")
    monkeypatch.setenv("PLANMESH_SHUTDOWN_GRACE_S", "7")
    environment = base_environment(MeshOptions(tmp_path, 4, 2, port=0), DataFolder(tmp_path), addresses, ["redis://r"])
    assert environment["PLANMESH_DATA"] == str(tmp_path / "store")
    assert environment["PLANMESH_SHARDS"] == "2"
    assert environment["PLANMESH_SHUTDOWN_GRACE_S"] == "7", "users may change what the mesh does not fix"
    assert "PLANMESH_ADDRESS" not in environment
    assert environment["PLANMESH_COORDINATOR_ADDRESS"] == "unix:/run/planmesh-1/coordinator.sock"


def test_workers_share_the_shards_evenly_and_the_gateway_starts_last(tmp_path: Path, addresses: Addresses) -> None:
    specs = serving_specs({"A": "1"}, addresses, MeshOptions(tmp_path, 5, 2, port=0))
    assert specs[-1].name == "gateway"
    shards = Counter(one.environment["PLANMESH_WORKER_SHARD"] for one in specs if one.name.startswith("worker"))
    assert shards == {"0": 3, "1": 2}
    assert all(one.environment["A"] == "1" for one in specs)
    assert [one.name for one in specs if one.probe is not None] == ["coordinator", "gateway"]


def test_only_the_gateway_gets_the_number_of_its_processes(tmp_path: Path, addresses: Addresses) -> None:
    variable = "PLANMESH_GATEWAY_PROCESSES"
    for chosen, expected in ((None, "3"), (0, "0"), (2, "2")):
        options = MeshOptions(tmp_path, 1, 1, port=0, gateway_processes=chosen)
        *others, gateway = serving_specs({variable: "3"}, addresses, options)
        assert gateway.environment[variable] == expected
        assert all(one.environment[variable] == "3" for one in others)
