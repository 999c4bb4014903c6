"""A real graph, loaded through every store: the plans are those of its file."""

from __future__ import annotations

import csv
import gzip
import json
import random
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from tests.conftest import RunningMesh, run_planmesh

STORES = pytest.mark.stores
STARTS = 20
GOALS_PER_START = 10
COST = "cost_installed_kib_of_dst"

KINDS = [
    "sqlite",
    *(pytest.param(kind, marks=pytest.mark.long) for kind in ("redis", "hybrid")),
    *(pytest.param(kind, marks=(STORES, pytest.mark.long)) for kind in ("neo4j", "gremlin", "janusgraph")),
]
"""Each kind of server once; other tests cover the protocols to the same server."""


@pytest.fixture(scope="module")
def costs(large_graphs: Path) -> dict[tuple[str, str], float]:
    """200 pairs of Debian's packages with every edge in both directions, and SciPy's cheapest costs."""
    with gzip.open(large_graphs / "debian" / "nodes.tsv.gz", "rt") as file:
        ids = [row["id"] for row in csv.DictReader(file, delimiter="\t")]
    number = {one: place for place, one in enumerate(ids)}
    cheapest: dict[tuple[int, int], float] = {}
    with gzip.open(large_graphs / "debian" / "edges.tsv.gz", "rt") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            tail, head, cost = number[row["src"]], number[row["dst"]], float(row[COST])
            for pair in ((tail, head), (head, tail)):
                cheapest[pair] = min(cost, cheapest.get(pair, cost))
    tails, heads = zip(*cheapest, strict=True)
    matrix = csr_array((list(cheapest.values()), (tails, heads)), shape=(len(ids), len(ids)))
    draw = random.Random(11)
    starts = draw.sample(range(len(ids)), STARTS)
    distances = dijkstra(matrix, indices=starts)
    found: dict[tuple[str, str], float] = {}
    for row_number, start in enumerate(starts):
        reachable = np.flatnonzero(np.isfinite(distances[row_number])).tolist()
        for goal in draw.sample(reachable, min(GOALS_PER_START, len(reachable))):
            found[ids[start], ids[goal]] = float(distances[row_number, goal])
    return found


@pytest.mark.parametrize("store_url", KINDS, indirect=True)
@pytest.mark.mesh
@pytest.mark.data
@pytest.mark.slow
def test_debian_served_from_a_store(
    mesh: RunningMesh,
    large_graphs: Path,
    costs: dict[tuple[str, str], float],
    store_url: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    folder = large_graphs / "debian"
    written = json.loads(
        run_planmesh(
            *("load", str(folder / "edges.tsv.gz"), "--nodes", str(folder / "nodes.tsv.gz")),
            *("--source-column", "src", "--target-column", "dst", "--cost-column", COST, "--domain-column", "section"),
            *("--undirected", "--store", store_url, "--json"),
        ).stdout
    )
    graph = f"debian-{request.node.callspec.params['store_url']}"
    loaded = mesh.json("load", store_url, "--graph", graph, "--strategy", "domain")
    assert (loaded["nodes"], loaded["edges"]) == (written["nodes"], written["edges"])
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{start}\t{goal}\n" for start, goal in costs))
    answers = mesh.cli("plan", "--pairs", str(pairs), "--graph", graph, "--json").stdout.splitlines()
    planned = [json.loads(line) for line in answers]
    assert len(planned) > 150
    assert {(plan["start"], plan["goal"]): plan["cost"] for plan in planned} == pytest.approx(costs)
    mesh.cli("unload", "--graph", graph)
