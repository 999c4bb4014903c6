"""`planmesh.testing`: a mesh for users' own tests, which leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from planmesh import Client, InvalidGraph, InvalidRequest, NoPath, Strategy
from planmesh.local.folders import DataFolder
from planmesh.local.state import MeshState, read_state
from planmesh.testing import FOLDER_PREFIX, local_mesh, local_mesh_async
from tests.conftest import ROOT

pytestmark = [pytest.mark.mesh, pytest.mark.slow]

END_S_MAX = 60


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which meshes make theirs."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def running(temporary: Path) -> MeshState:
    (folder,) = temporary.glob(f"{FOLDER_PREFIX}*")
    state = read_state(DataFolder(folder))
    assert state is not None
    return state


def test_a_mesh_with_a_graph_of_tuples(temporary: Path) -> None:
    edges = [("a", "b", 1.0), ("b", "c", 2.0), ("a", "c", 9.0)]
    with local_mesh(edges=edges, nodes=["a", "b", "c", "alone"], strategy=Strategy.HASH, partitions=2) as client:
        assert client.plan("a", "c").cost == 3.0
        with pytest.raises(NoPath):
            client.plan("a", "alone")
        assert client.graph().strategy is Strategy.HASH
        assert client.load(edges=[("x", "y")], graph="another").nodes == 2
        assert client.plan("x", "y", graph="another").cost == 1.0
        state = running(temporary)
        assert client.address == state.address
        with Client(client.address) as second:
            assert second.status().ready
    assert state.alive() == []
    assert not Path(state.runtime_folder).exists()
    assert list(temporary.iterdir()) == []


async def test_an_async_mesh_with_a_graph_of_a_file(temporary: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("graph") / "edges.tsv"
    file.write_text("source\ttarget\tcost\na\tb\t1.5\nb\tc\t2\n")
    async with local_mesh_async(file=file, undirected=True) as client:
        plans = await asyncio.gather(client.plan("a", "c"), client.plan("c", "a"))
        assert [plan.cost for plan in plans] == [3.5, 3.5]
        state = running(temporary)
    assert state.alive() == []
    assert list(temporary.iterdir()) == []


def test_errors_inside_the_block_stop_the_mesh_and_are_raised(temporary: Path) -> None:
    states: list[MeshState] = []

    def spoilt() -> Iterator[tuple[str, str, float]]:
        yield "a", "b", 1.0
        states.append(running(temporary))
        yield "a", "b", -1.0

    with pytest.raises(InvalidGraph, match="edges, item 2"), local_mesh(edges=spoilt()):
        raise AssertionError("a mesh without its graph was given")
    assert states[0].alive() == []
    assert list(temporary.iterdir()) == []


def test_what_cannot_be_started_is_refused_before_it_is(temporary: Path, backbone: Path) -> None:
    for wrong in ({"file": backbone, "edges": []}, {"workers": 0}, {"shards": 3}):
        with pytest.raises(InvalidRequest), local_mesh(**wrong):
            raise AssertionError("a mesh was given")
    assert list(temporary.iterdir()) == []


def test_a_mesh_ends_with_the_process_that_owns_it(temporary: Path) -> None:
    """SIGKILL leaves the process no chance to stop anything."""
    code = """
from planmesh.testing import local_mesh
with local_mesh() as client:
    print(client.address, flush=True)
    input()
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        assert owner.stdout is not None
        address = owner.stdout.readline().strip()
        state = running(temporary)
        assert state.address == address
        processes = [record.process() for record in state.alive()]
        owner.kill()
    _, left = psutil.wait_procs([process for process in processes if process is not None], timeout=END_S_MAX)
    assert left == []
