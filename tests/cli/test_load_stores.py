"""`planmesh load` from files into stores, and from stores into a mesh."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

from planmesh.store.urls import open_store
from tests.conftest import RedisServer, RunningMesh, run_planmesh
from tests.store.contract.rows import Edges, Nodes, contents, fill


async def stored(url: str) -> tuple[Nodes, Edges]:
    store = await open_store(url)
    try:
        return await contents(store)
    finally:
        await store.close()


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Write a file of edges, with a parallel one and a self-loop, and one of nodes."""
    (tmp_path / "edges.csv").write_text("source,target,cost\na,b,1.5\nb,c,2\na,b,0.5\nc,c,1\n")
    (tmp_path / "nodes.csv").write_text("id,domain,region\na,x,eu\nb,x,\nc,,\nd,y,us\n")
    return str(tmp_path / "edges.csv"), str(tmp_path / "nodes.csv")


async def test_a_file_into_a_store(files: tuple[str, str], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/graph.db"
    printed = json.loads(run_planmesh("load", files[0], "--nodes", files[1], "--store", url, "--json").stdout)
    assert list(printed) == ["store", "nodes", "edges", "parallel_edges", "revision", "seconds"]
    assert (printed["store"], printed["nodes"], printed["edges"], printed["parallel_edges"]) == (url, 4, 3, 1)
    assert await stored(url) == (
        {"a": ("x", "eu"), "b": ("x", ""), "c": ("", ""), "d": ("y", "us")},
        {("a", "b"): 0.5, ("b", "c"): 2.0, ("c", "c"): 1.0},
    )
    assert "stored 4 nodes, 3 edges" in run_planmesh("load", files[0], "--nodes", files[1], "--store", url).stdout


async def test_edges_that_imply_their_nodes_and_lead_both_ways(files: tuple[str, str], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/graph.db"
    run_planmesh("load", files[0], "--undirected", "--store", url)
    assert await stored(url) == (
        {"a": ("", ""), "b": ("", ""), "c": ("", "")},
        {("a", "b"): 0.5, ("b", "a"): 0.5, ("b", "c"): 2.0, ("c", "b"): 2.0, ("c", "c"): 1.0},
    )


@pytest.mark.parametrize(
    ("edges", "complaint"),
    [
        ("source,target,cost\na,b,1\na,nowhere,1\n", "edges.csv, line 3, field target: expected the id of a node"),
        ("source,target,cost\na,b,1\nb,a,cheap\n", "edges.csv, line 3, field cost"),
    ],
)
async def test_a_bad_row_leaves_the_store_as_it_was(
    files: tuple[str, str], tmp_path: Path, edges: str, complaint: str
) -> None:
    url = f"sqlite:///{tmp_path}/graph.db"
    run_planmesh("load", files[0], "--nodes", files[1], "--store", url)
    before = await stored(url)
    (tmp_path / "edges.csv").write_text(edges)
    result = run_planmesh("load", files[0], "--nodes", files[1], "--store", url, "--json", code=1)
    assert complaint in json.loads(result.stdout)["error"]["message"]
    assert await stored(url) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("load", "sqlite:///a.db", "--store", "sqlite:///b.db"),
        ("load", "sqlite:///a.db", "--cost-column", "latency"),
        ("load", "examples/backbone/backbone.json.gz", "--store", "sqlite:///b.db", "--strategy", "hash"),
        ("load", "tests", "--store", "sqlite:///b.db"),
    ],
)
def test_usage_errors(arguments: tuple[str, ...]) -> None:
    result = run_planmesh(*arguments, code=2)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_a_password_is_in_no_output(files: tuple[str, str]) -> None:
    url = "redis://:tops3cret@127.0.0.1:1/0"
    for arguments in (("load", files[0], "--store", url), ("load", url)):
        for form in ((), ("--json",)):
            result = run_planmesh(*arguments, *form, "--address", "127.0.0.1:1", code=1)
            assert "tops3cret" not in result.stdout + result.stderr


@pytest.mark.mesh
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_from_a_store_into_the_mesh(
    mesh: RunningMesh, backbone: Path, tmp_path: Path, redis_server: RedisServer, kind: str
) -> None:
    """The example's graph through a store gives the same plans as directly from its file."""
    url = f"sqlite:///{tmp_path}/graph.db" if kind == "sqlite" else redis_server.url
    run_planmesh("load", str(backbone), "--cost-column", "latency_ms", "--store", url)
    loaded: dict[str, Any] = mesh.json("load", url, "--graph", f"from-{kind}", "--strategy", "region")
    assert (loaded["nodes"], loaded["edges"]) == (3_815, 10_378)
    straight = mesh.json(
        "load", str(backbone), "--cost-column", "latency_ms", "--graph", "from-file", "--strategy", "region"
    )
    assert (straight["nodes"], straight["edges"], straight["partitions"]) == (3_815, 10_378, loaded["partitions"])
    graph = nx.Graph()
    document = json.loads(gzip.decompress(backbone.read_bytes()))
    graph.add_nodes_from(node["id"] for node in document["nodes"])
    for edge in document["edges"]:
        known = graph.get_edge_data(edge["source"], edge["target"], {}).get("cost", float("inf"))
        graph.add_edge(edge["source"], edge["target"], cost=min(known, edge["latency_ms"]))
    ids = sorted(graph.nodes, key=str)
    for start, goal in zip(ids[::400], ids[200::400], strict=False):
        plan = mesh.json("plan", str(start), str(goal), "--graph", f"from-{kind}", "--no-cache")
        assert plan["cost"] == pytest.approx(nx.dijkstra_path_length(graph, start, goal, weight="cost"))


@pytest.mark.mesh
def test_a_store_that_cannot_be_read_loads_nothing(mesh: RunningMesh, tmp_path: Path) -> None:
    result = mesh.cli("load", f"sqlite:///{tmp_path}/none.db?create=false", "--graph", "from-none", "--json", code=1)
    assert json.loads(result.stdout)["error"]["reason"] == "STORE_UNAVAILABLE"
    assert mesh.json("plan", "a", "b", "--graph", "from-none", code=1)["error"]["reason"] == "GRAPH_UNKNOWN"


@pytest.mark.mesh
async def test_a_load_that_the_mesh_refuses_midway_ends_quietly(mesh: RunningMesh, tmp_path: Path) -> None:
    """The mesh refuses the load while rows of the store are still being sent."""
    url = f"sqlite:///{tmp_path}/graph.db"
    store = await open_store(url)
    await fill(store, [f"n{number}" for number in range(40_000)], [])
    await store.close()
    for options in (
        ("--graph", "no such name!"),
        ("--graph", "refused", "--strategy", "region", "--partitions", "99999"),
    ):
        result = mesh.cli("load", url, *options, "--json", code=1)
        assert json.loads(result.stdout)["error"]["code"] in ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
        assert result.stderr == ""
