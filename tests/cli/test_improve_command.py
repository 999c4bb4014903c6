"""`planmesh partition improve` on a real mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from planmesh.client import Client, EdgeRows
from tests.conftest import ROOT, RunningMesh, run_planmesh

FIELDS = ["graph", "version", "strategy", "partitions", "cross_edge_share", "tried", "proposed", "loaded"]
SIDE = 40


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An undirected grid, whose nodes no row declares."""
    rows = ["source,target,cost"]
    for x in range(SIDE):
        for y in range(SIDE):
            rows += [f"{x}:{y},{x + 1}:{y},{1 + (x * y) % 7}"] if x + 1 < SIDE else []
            rows += [f"{x}:{y},{x}:{y + 1},{1 + (x + y) % 5}"] if y + 1 < SIDE else []
    file: Path = tmp_path_factory.mktemp("grid") / "edges.csv"
    file.write_text("\n".join(rows) + "\n")
    return str(file)


def load(mesh: RunningMesh, grid: str, graph: str, strategy: str) -> Any:
    return mesh.json("load", grid, "--undirected", "--graph", graph, "--strategy", strategy, "--partitions", "8")


@pytest.mark.mesh
def test_it_is_proposed_then_applied_and_plans_stay_the_same(mesh: RunningMesh, grid: str) -> None:
    poor = load(mesh, grid, "improve", "hash")
    pair = ("0:0", f"{SIDE - 1}:{SIDE - 1}", "--graph", "improve")
    cost = mesh.json("plan", *pair)["cost"]
    proposal = mesh.json("partition", "improve", "--graph", "improve", "--address", mesh.address)
    assert list(proposal) == FIELDS
    assert (proposal["version"], proposal["strategy"], proposal["partitions"]) == (poor["version"], "hash", 8)
    assert proposal["cross_edge_share"] == pytest.approx(poor["cross_edge_share"])
    assert proposal["loaded"] is None
    best = proposal["tried"][0]
    assert proposal["proposed"] == best["strategy"]
    assert best["cross_edge_share"] < 0.2
    assert mesh.json("plan", *pair)["version"] == poor["version"], "a proposal changes nothing"
    applied = mesh.json("partition", "improve", "--apply", "--graph", "improve")["loaded"]
    assert applied["version"] > poor["version"]
    assert (applied["nodes"], applied["edges"], applied["partitions"]) == (poor["nodes"], poor["edges"], 8)
    assert applied["cross_edge_share"] == pytest.approx(best["cross_edge_share"])
    again = mesh.json("plan", *pair, "--no-cache")
    assert (again["version"], again["cost"]) == (applied["version"], cost)
    assert "nothing better is proposed" in mesh.cli("partition", "improve", "--graph", "improve").stdout


@pytest.mark.mesh
def test_a_good_partitioning_is_left_alone(mesh: RunningMesh, grid: str) -> None:
    good = load(mesh, grid, "improve-good", "mincut")
    said = mesh.json("partition", "improve", "--apply", "--graph", "improve-good")
    assert (said["tried"], said["proposed"], said["loaded"]) == ([], None, None)
    assert mesh.json("plan", "0:0", "1:1", "--graph", "improve-good")["version"] == good["version"]


@pytest.mark.mesh
def test_which_stores_parts_came_from_is_kept(mesh: RunningMesh) -> None:
    stores = {"eu": "sqlite:///eu.db", "us": "sqlite:///us.db"}
    with Client(mesh.address) as client:
        rows = [EdgeRows(["a"], ["b"], [1.0])]
        client.load(rows, graph="improve-stores", implicit_nodes=True, region_stores=stores)
        assert dict(client.graph(graph="improve-stores").region_stores) == stores


def test_help_and_page() -> None:
    text = run_planmesh("partition", "improve", "--help").stdout
    assert "Example: planmesh partition improve" in text
    section = (ROOT / "docs" / "cli-json.md").read_text().split("\n## partition improve\n")[1].split("\n## ")[0]
    assert all(f"`{name}`" in section for name in FIELDS)
