"""Index, query and unpacking together give the costs of the reference and of networkx, on any partitioning."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planmesh.graph.model import Graph, Int32Array
from planmesh.search.contraction import ContractionLimits
from planmesh.search.reference import BidirectionalDijkstra, dijkstra
from tests.search.in_process_mesh import InProcessMesh, build_mesh, check_plan, make_graph, order_by_partition
from tests.search.random_graphs import LIMITS, partitioned_graphs


def as_networkx(graph: Graph) -> nx.DiGraph:
    result = nx.DiGraph()
    result.add_nodes_from(range(graph.node_count))
    for tail in range(graph.node_count):
        for edge in range(int(graph.first_out[tail]), int(graph.first_out[tail + 1])):
            result.add_edge(tail, int(graph.head[edge]), cost=float(graph.weight[edge]))
    return result


def check_all_pairs(mesh: InProcessMesh) -> None:
    graph = mesh.graph
    expected = dict(nx.all_pairs_dijkstra_path_length(as_networkx(graph), weight="cost"))
    bidirectional = BidirectionalDijkstra(graph)
    is_whole = bool(np.all(graph.weight == np.floor(graph.weight)))
    for start in range(graph.node_count):
        distances, _, _ = dijkstra(graph.first_out, graph.head, graph.weight, start)
        for goal in range(graph.node_count):
            plan = mesh.plan(start, goal)
            for other in (expected[start].get(goal, np.inf), distances[goal], bidirectional.cost(start, goal)):
                assert plan[0] == other if is_whole else plan[0] == pytest.approx(other, rel=1e-9, abs=0)
            if plan[0] < np.inf:
                check_plan(mesh, start, goal, plan)


@settings(max_examples=150, deadline=None)
@given(partitioned_graphs(), LIMITS)
def test_plans_are_cheapest_on_any_partitioning(
    partitioned: tuple[Graph, Int32Array], limits: ContractionLimits | None
) -> None:
    graph, partition_first, _ = order_by_partition(*partitioned)
    check_all_pairs(build_mesh(graph, partition_first, limits))


@settings(max_examples=60, deadline=None)
@given(partitioned_graphs(), LIMITS, st.randoms(use_true_random=False))
def test_any_levels_are_exact(
    partitioned: tuple[Graph, Int32Array], limits: ContractionLimits | None, random: object
) -> None:
    graph, partition_first, _ = order_by_partition(*partitioned)
    flat = build_mesh(graph, partition_first, limits, levels=[])
    check_all_pairs(flat)
    count = flat.overlay.node_count
    groups = np.array([random.randrange(3) for _ in range(count)], np.int32)  # type: ignore[attr-defined]
    check_all_pairs(build_mesh(graph, partition_first, limits, levels=[groups, np.zeros(count, np.int32)]))


def random_mesh(node_count: int, edge_count: int, partition_count: int, seed: int) -> InProcessMesh:
    random = np.random.default_rng(seed)
    tails = random.integers(0, node_count, edge_count)
    near = np.clip(tails + random.integers(-20, 21, edge_count), 0, node_count - 1)
    heads = np.where(random.random(edge_count) < 0.05, random.integers(0, node_count, edge_count), near)
    costs = random.integers(0, 50, edge_count)
    graph = make_graph(node_count, list(zip(tails.tolist(), heads.tolist(), costs.astype(float).tolist(), strict=True)))
    blocks = (np.arange(node_count) * partition_count // node_count).astype(np.int32)
    return build_mesh(*order_by_partition(graph, blocks)[:2])


@pytest.mark.parametrize(("edges_per_node", "partition_count"), [(2, 4), (3, 40), (6, 100)])
def test_larger_graphs_with_levels(edges_per_node: int, partition_count: int) -> None:
    mesh = random_mesh(3000, 3000 * edges_per_node, partition_count, seed=partition_count)
    reference = BidirectionalDijkstra(mesh.graph)
    random = np.random.default_rng(1)
    for start, goal in random.integers(0, 3000, (150, 2)).tolist():
        plan = mesh.plan(start, goal)
        assert plan[0] == reference.cost(start, goal)
        if plan[0] < np.inf:
            check_plan(mesh, start, goal, plan)
            assert len(set(plan[1])) == len(plan[1])


def best_exit_cost(mesh: InProcessMesh, start: int, goal: int, crossed: list[int]) -> float:
    """Return the cost of the simple scheme: in each partition of `crossed`, take the cheapest exit to the next one."""
    graph, cost, node = mesh.graph, 0.0, start
    for here, following in itertools.pairwise(crossed):
        distances = distances_within(mesh, here, node)
        best = (np.inf, -1)
        for tail in np.flatnonzero(distances < np.inf).tolist():
            for edge in range(int(graph.first_out[tail]), int(graph.first_out[tail + 1])):
                if mesh.partition_of(int(graph.head[edge])) == following:
                    best = min(best, (float(distances[tail] + graph.weight[edge]), int(graph.head[edge])))
        cost, node = cost + best[0], best[1]
    return cost + float(distances_within(mesh, crossed[-1], node)[goal])


def distances_within(mesh: InProcessMesh, partition: int, source: int) -> np.ndarray:
    graph = mesh.graph
    edges = [
        (tail, int(graph.head[edge]), float(graph.weight[edge]))
        for tail in range(graph.node_count)
        for edge in range(int(graph.first_out[tail]), int(graph.first_out[tail + 1]))
        if mesh.partition_of(tail) == mesh.partition_of(int(graph.head[edge])) == partition
    ]
    inside = make_graph(graph.node_count, edges)
    return dijkstra(inside.first_out, inside.head, inside.weight, source)[0]


def test_the_best_looking_exit_is_dearer_than_our_plan() -> None:
    # The exit 1 is near, but behind it (3) the goal (5) is far. Behind the other exit (4) it is near.
    edges = [(0, 1, 1.0), (0, 2, 5.0), (1, 3, 1.0), (2, 4, 1.0), (3, 5, 100.0), (4, 5, 1.0)]
    mesh = build_mesh(make_graph(6, edges), np.array([0, 3, 6], np.int32))
    assert best_exit_cost(mesh, 0, 5, [0, 1]) == 102.0
    assert mesh.plan(0, 5) == (7.0, [0, 2, 4, 5], [5.0, 1.0, 1.0])


def test_a_plan_inside_one_partition_may_lead_through_another() -> None:
    edges = [(0, 1, 50.0), (0, 2, 1.0), (2, 3, 1.0), (3, 1, 1.0)]
    mesh = build_mesh(make_graph(4, edges), np.array([0, 2, 4], np.int32))
    assert mesh.plan(0, 1) == (3.0, [0, 2, 3, 1], [1.0, 1.0, 1.0])


def test_plans_on_a_ring_of_free_edges_have_no_loops() -> None:
    edges = [(k, (k + 1) % 12, 0.0) for k in range(12)] + [((k + 1) % 12, k, 0.0) for k in range(12)]
    mesh = build_mesh(make_graph(12, edges), np.array([0, 4, 8, 12], np.int32))
    for start in range(12):
        for goal in range(12):
            cost, nodes, _ = mesh.plan(start, goal)
            assert cost == 0.0
            assert len(set(nodes)) == len(nodes)


def test_single_nodes_as_partitions() -> None:
    edges = [(0, 1, 1.0), (1, 2, 2.0), (2, 3, 3.0), (0, 3, 10.0)]
    mesh = build_mesh(make_graph(5, edges), np.arange(6, dtype=np.int32))
    assert mesh.plan(0, 3) == (6.0, [0, 1, 2, 3], [1.0, 2.0, 3.0])
    assert mesh.plan(3, 0)[0] == np.inf
    assert mesh.plan(0, 4)[0] == np.inf
