"""New York's roads (9th DIMACS challenge), cut by METIS into 16 partitions."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pymetis
import pytest

from planmesh.graph.model import Graph
from planmesh.search.certificate import find_violation
from planmesh.search.reference import BidirectionalDijkstra, dijkstra
from tests.search.in_process_mesh import build_mesh, check_plan, order_by_partition

PAIRS = 200


@pytest.fixture(scope="module")
def new_york(large_graphs: Path) -> Graph:
    with gzip.open(large_graphs / "dimacs-ny" / "USA-road-d.NY.gr.gz", "rt") as file:
        lines = file.read().splitlines()
    node_count = next(int(line.split()[2]) for line in lines if line.startswith("p"))
    rows = np.array(" ".join(line[2:] for line in lines if line.startswith("a")).split(), np.int64).reshape(-1, 3)
    tails, heads, costs = rows[:, 0] - 1, rows[:, 1] - 1, rows[:, 2]
    order = np.lexsort((costs, heads, tails))
    tails, heads, costs = tails[order], heads[order], costs[order]
    keep = np.ones(len(tails), bool)
    keep[1:] = (tails[1:] != tails[:-1]) | (heads[1:] != heads[:-1])
    first = np.zeros(node_count + 1, np.int64)
    np.cumsum(np.bincount(tails[keep], minlength=node_count), out=first[1:])
    return Graph(first, heads[keep].astype(np.int32), costs[keep].astype(np.float64))


@pytest.mark.data
@pytest.mark.slow
def test_plans_cost_what_the_reference_says_to_the_last_digit(new_york: Graph) -> None:
    adjacency = pymetis.CSRAdjacency(new_york.first_out.astype(np.int32), new_york.head)
    _, partition_of = pymetis.part_graph(16, adjacency)
    graph, partition_first, _ = order_by_partition(new_york, np.array(partition_of, np.int32))
    mesh = build_mesh(graph, partition_first)
    reference = BidirectionalDijkstra(graph)
    random = np.random.default_rng(16)
    for start, goal in random.integers(0, graph.node_count, (PAIRS, 2)).tolist():
        plan = mesh.plan(start, goal)
        assert plan[0] == reference.cost(start, goal)
        check_plan(mesh, start, goal, plan)
        assert len(set(plan[1])) == len(plan[1])


@pytest.mark.data
def test_the_reference_is_certified_on_real_roads(new_york: Graph) -> None:
    for source in (0, 131_072):
        distances, parents, settled = dijkstra(new_york.first_out, new_york.head, new_york.weight, source)
        assert settled == new_york.node_count
        assert find_violation(new_york.first_out, new_york.head, new_york.weight, source, distances, parents) == ""
