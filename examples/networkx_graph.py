"""Loads a networkx graph into a mesh, plans on it, and compares the plan with networkx's own path."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterator

import networkx

from planmesh import Client

SIDE = 60


def make_graph() -> networkx.Graph:
    """A grid of streets: an undirected graph whose nodes are pairs of numbers, with minutes on each edge."""
    draw = random.Random(7)  # noqa: S311 - costs for an example
    graph = networkx.grid_2d_graph(SIDE, SIDE)
    for _, _, attributes in graph.edges(data=True):
        attributes["minutes"] = round(draw.uniform(1.0, 10.0), 1)
    return graph


def node_id(node: tuple[int, int]) -> str:
    """Return the id of a node in the mesh, where ids are strings."""
    return f"{node[0]}:{node[1]}"


def nodes_of(graph: networkx.Graph) -> Iterator[tuple[str, str]]:
    """Return id and domain of each node. The strategy `domain` makes each quarter of the grid a partition."""
    for row, column in graph:
        yield node_id((row, column)), f"quarter {row * 2 // SIDE} {column * 2 // SIDE}"


def edges_of(graph: networkx.Graph) -> Iterator[tuple[str, str, float]]:
    """Return source, target and cost of each edge."""
    for source, target, minutes in graph.edges(data="minutes"):
        yield node_id(source), node_id(target), minutes


def main(address: str) -> None:
    """Load the graph, plan across it, and compare."""
    graph = make_graph()
    start, goal = (0, 0), (SIDE - 1, SIDE - 1)
    with Client(address, graph="streets") as client:
        report = client.load(
            nodes=nodes_of(graph), edges=edges_of(graph), strategy="domain", undirected=not graph.is_directed()
        )
        print(f"loaded {report.nodes:,} nodes and {report.edges:,} edges in {report.partitions} partitions")
        plan = client.plan(node_id(start), node_id(goal))
    print(f"plan: {plan.cost:.1f} minutes in {len(plan.steps)} steps through {', '.join(plan.partitions)}")
    expected = networkx.dijkstra_path_length(graph, start, goal, weight="minutes")
    print(f"networkx: {expected:.1f} minutes")
    if not math.isclose(plan.cost, expected, rel_tol=1e-9):
        raise SystemExit("the costs differ")


if __name__ == "__main__":
    main(os.environ.get("PLANMESH_ADDRESS", "127.0.0.1:50051"))
