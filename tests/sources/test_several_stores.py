"""`planmesh load STORES.toml`: one graph from several stores of several kinds."""

from __future__ import annotations

import itertools
import json
import secrets
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

from planmesh.store.urls import open_store, parse_store_url
from tests.conftest import RedisServer, RunningMesh, run_planmesh
from tests.store.contract.rows import contents, fill

Nodes = dict[str, tuple[str, str]]
Edges = list[tuple[str, str, float]]

EU: Nodes = {"e1": ("web", "eu"), "e2": ("db", "eu")}
US: Nodes = {"u1": ("web", "us"), "u2": ("", "us")}


@pytest.fixture
def urls(tmp_path: Path, redis_server: RedisServer) -> dict[str, str]:
    return {"eu": f"sqlite:///{tmp_path}/eu.db", "us": f"{redis_server.url}?graph={secrets.token_hex(4)}"}


async def put(url: str, nodes: Nodes, edges: Edges) -> None:
    store = await open_store(url)
    try:
        await fill(store, nodes, edges)
    finally:
        await store.close()


def stores_file(folder: Path, urls: dict[str, str], by: str = "region") -> str:
    lines = [f'by = "{by}"', "[stores]", *(f"{label} = {json.dumps(url)}" for label, url in urls.items())]
    (folder / "graph.toml").write_text("\n".join(lines) + "\n")
    return str(folder / "graph.toml")


async def joined(file: str, folder: Path) -> Any:
    """Return the whole graph, loaded into a third store."""
    whole = f"sqlite:///{folder}/whole.db"
    run_planmesh("load", file, "--store", whole)
    store = await open_store(whole)
    try:
        return await contents(store)
    finally:
        await store.close()


async def test_each_node_comes_from_its_own_store(urls: dict[str, str], tmp_path: Path) -> None:
    """A cross edge may be in one store, in the other, or in both; a far end comes from its own store."""
    await put(
        urls["eu"],
        {**EU, "u1": ("stale", "us")},
        [("e1", "e2", 1.0), ("e2", "e1", 2.0), ("e1", "u1", 5.0), ("u1", "e2", 6.0)],
    )
    await put(urls["us"], {**US, "e1": ("", "eu")}, [("u1", "u2", 3.0), ("e1", "u1", 5.0), ("u2", "e1", 7.0)])
    nodes, edges = await joined(stores_file(tmp_path, urls), tmp_path)
    assert nodes == {**EU, **US}
    assert edges == {
        **{("e1", "e2"): 1.0, ("e2", "e1"): 2.0, ("u1", "u2"): 3.0},
        **{("e1", "u1"): 5.0, ("u1", "e2"): 6.0, ("u2", "e1"): 7.0},
    }


async def test_by_domain(urls: dict[str, str], tmp_path: Path) -> None:
    by_domain = {"web": urls["eu"], "db": urls["us"]}
    await put(by_domain["web"], {"a": ("web", "x"), "b": ("db", "")}, [("a", "b", 1.0)])
    await put(by_domain["db"], {"b": ("db", "y")}, [])
    nodes, edges = await joined(stores_file(tmp_path, by_domain, by="domain"), tmp_path)
    assert (nodes, edges) == ({"a": ("web", "x"), "b": ("db", "y")}, {("a", "b"): 1.0})


@pytest.mark.parametrize(
    ("eu", "us", "complaint"),
    [
        (({**EU, "u9": ("", "us")}, []), (US, []), "node 'u9', the far end of a cross edge, belongs to region 'us'"),
        (
            ({**EU, "m": ("", "mars")}, []),
            (US, []),
            "node 'm': expected a region that has a store (eu, us), got 'mars'",
        ),
        (({**EU, "m": ("", "")}, []), (US, []), "node 'm': expected a region that has a store"),
        (
            ({**EU, "u1": ("", "us")}, [("e1", "u1", 5.0)]),
            ({**US, "e1": ("", "eu")}, [("e1", "u1", 6.0)]),
            "the stores disagree on the cross edge from 'e1' to 'u1'",
        ),
        (
            ({**EU, "u1": ("", "us"), "u2": ("", "us")}, [("u1", "u2", 5.0)]),
            (US, []),
            "the edge from 'u1' to 'u2' has no end in this store's region 'eu'",
        ),
    ],
)
async def test_inconsistent_stores_load_nothing(
    urls: dict[str, str], tmp_path: Path, eu: tuple[Nodes, Edges], us: tuple[Nodes, Edges], complaint: str
) -> None:
    await put(urls["eu"], *eu)
    await put(urls["us"], *us)
    whole = f"sqlite:///{tmp_path}/whole.db"
    result = run_planmesh("load", stores_file(tmp_path, urls), "--store", whole, "--json", code=1)
    error = json.loads(result.stdout)["error"]
    assert complaint in error["message"]
    assert error["reason"] == "INVALID_GRAPH"
    store = await open_store(whole)
    try:
        assert (await store.counts()).nodes == 0
    finally:
        await store.close()


@pytest.mark.parametrize(
    "text",
    [
        "by = ",
        'by = "region"',
        'by = "colour"\n[stores]\neu = "sqlite:///a.db"',
        'more = 1\n[stores]\neu = "sqlite:///a.db"',
        "[stores]\neu = 5",
        '[stores]\neu = "mysql://u:tops3cret@h/x"',
        '[stores]\neu = "redis://u:tops3cret/x@h:port"',
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, text: str) -> None:
    (tmp_path / "graph.toml").write_text(text)
    result = run_planmesh("load", str(tmp_path / "graph.toml"), "--json", code=1)
    message = json.loads(result.stdout)["error"]["message"]
    assert message.startswith("graph.toml: ")
    assert "tops3cret" not in result.stdout + result.stderr


async def test_an_unavailable_store_is_named_without_its_password(urls: dict[str, str], tmp_path: Path) -> None:
    away = {"eu": urls["eu"], "us": "redis://:tops3cret@127.0.0.1:1/0"}
    file = stores_file(tmp_path, away)
    result = run_planmesh("load", file, "--store", f"sqlite:///{tmp_path}/whole.db", "--json", code=1)
    assert json.loads(result.stdout)["error"]["reason"] == "STORE_UNAVAILABLE"
    assert "127.0.0.1:1" in result.stdout
    assert "tops3cret" not in result.stdout + result.stderr


@pytest.mark.mesh
async def test_plans_over_stores_cost_what_the_reference_says(
    mesh: RunningMesh, urls: dict[str, str], tmp_path: Path
) -> None:
    draw = np.random.default_rng(5)
    nodes = {f"{region}{number}": ("", region) for region in urls for number in range(60)}
    ids = list(nodes)
    edges: dict[tuple[str, str], float] = {}
    for number, source in enumerate(ids):
        for step in (1, *draw.integers(2, 9, 2), int(draw.integers(50, 70))):
            target = ids[(number + int(step)) % len(ids)]
            edges[source, target] = float(draw.integers(1, 50))
    for region, url in urls.items():
        near = {pair: cost for pair, cost in edges.items() if region in {nodes[end][1] for end in pair}}
        ends = {end: nodes[end] for end in itertools.chain(*near)}
        await put(url, ends, [(*pair, cost) for pair, cost in near.items()])
    loaded = mesh.json("load", stores_file(tmp_path, urls), "--graph", "parts")
    assert (loaded["nodes"], loaded["edges"]) == (len(nodes), len(edges))
    found = mesh.json("partitions", "--graph", "parts")["partitions"]
    reported = {store for partition in found for store in partition["stores"]}
    assert reported == {parse_store_url(url).text for url in urls.values()}
    shown = mesh.cli("partitions", "--graph", "parts").stdout
    assert all(store in shown for store in reported)
    assert parse_store_url(urls["us"]).password.get_secret_value() not in shown + json.dumps(found)
    graph = nx.DiGraph()
    graph.add_weighted_edges_from((*pair, cost) for pair, cost in edges.items())
    for start, goal in [(ids[a], ids[b]) for a, b in draw.integers(0, len(ids), (20, 2))]:
        plan = mesh.json("plan", start, goal, "--graph", "parts", "--no-cache")
        assert plan["cost"] == nx.dijkstra_path_length(graph, start, goal)
