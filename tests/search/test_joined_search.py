"""Searches of the joined index give the costs of the reference, on any partitioning."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from planmesh.graph.model import Graph, Int32Array
from planmesh.search.binary_heap import heap_push
from planmesh.search.contraction import ContractionLimits
from planmesh.search.joined_search import JoinedSearch, _make_queue, _make_space, drop_overtaken
from planmesh.search.reference import BidirectionalDijkstra
from tests.search.in_process_mesh import InProcessMesh, build_mesh, check_plan, joined_index, order_by_partition
from tests.search.random_graphs import LIMITS, partitioned_graphs
from tests.search.test_exactness import random_mesh


def joined_search(mesh: InProcessMesh) -> JoinedSearch:
    return JoinedSearch(joined_index(mesh))


def check_path(mesh: InProcessMesh, search: JoinedSearch, start: int, goal: int, expected: float) -> None:
    nodes, costs = search.path(start, goal)
    if expected == np.inf:
        assert len(nodes) == len(costs) == 0
        return
    plan = float(costs.sum()), nodes.tolist(), costs.tolist()
    assert plan[0] == pytest.approx(expected, rel=1e-9, abs=0)
    assert len(set(plan[1])) == len(plan[1])
    check_plan(mesh, start, goal, plan)


@settings(max_examples=150, deadline=None)
@given(partitioned_graphs(), LIMITS)
def test_paths_are_cheapest_on_any_partitioning(
    partitioned: tuple[Graph, Int32Array], limits: ContractionLimits | None
) -> None:
    graph, partition_first, _ = order_by_partition(*partitioned)
    mesh = build_mesh(graph, partition_first, limits)
    search, reference = joined_search(mesh), BidirectionalDijkstra(graph)
    for start in range(graph.node_count):
        for goal in range(graph.node_count):
            check_path(mesh, search, start, goal, reference.cost(start, goal))


@pytest.mark.parametrize(("edges_per_node", "partition_count"), [(2, 4), (3, 40), (6, 100)])
def test_larger_graphs_with_levels(edges_per_node: int, partition_count: int) -> None:
    mesh = random_mesh(3000, 3000 * edges_per_node, partition_count, seed=partition_count)
    search, reference = joined_search(mesh), BidirectionalDijkstra(mesh.graph)
    for start, goal in np.random.default_rng(1).integers(0, 3000, (300, 2)).tolist():
        check_path(mesh, search, start, goal, reference.cost(start, goal))


def test_an_unknown_node_is_refused() -> None:
    search = joined_search(random_mesh(60, 120, 3, seed=1))
    with pytest.raises(ValueError, match="expected nodes below 60, got 3 and 60"):
        search.path(3, 60)


def test_a_full_queue_keeps_the_entries_of_current_labels() -> None:
    space, queue = _make_space(4), _make_queue(4, 8)
    space.label[:, 0]["distance"] = [5.0, 2.0, np.inf, 1.0]
    entries = [(5.0, 0), (7.0, 1), (2.0, 1), (1.5, 3), (1.0, 3)]
    size = 0
    for key, node in entries:
        size = heap_push(queue.key, queue.node, size, key, node)
    size = drop_overtaken(queue, size, space.label, 0)
    assert sorted(zip(queue.key[:size].tolist(), queue.node[:size].tolist(), strict=True)) == [
        (1.0, 3),
        (2.0, 1),
        (5.0, 0),
    ]
    assert queue.node[0] == 3
