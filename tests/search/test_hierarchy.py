"""Searches upward in a hierarchy, and the paths that they expand to."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings

from planmesh.graph.model import Graph
from planmesh.search.contraction import ContractionLimits
from planmesh.search.hierarchy import (
    Hierarchy,
    SearchSpace,
    climb_all,
    climb_both,
    end_path,
    expand_ascent,
    expand_descent,
    expand_edge,
    make_path,
    make_path_space,
    make_search_space,
    reset_search,
    seed,
    start_path,
)
from planmesh.search.partition_index import build_partition_index
from planmesh.search.reference import dijkstra
from tests.search.in_process_mesh import make_graph
from tests.search.random_graphs import graphs

EVERYTHING = ContractionLimits(growth_factor_cheap=1e6, growth_factor=1e6, growth_factor_broad=1e6, table_nodes_max=0)
"""Contracts every node."""


def fully_contracted(graph: Graph) -> Hierarchy:
    none = np.zeros(graph.node_count, bool)
    hierarchy = build_partition_index(graph.first_out, graph.head, graph.weight, none, EVERYTHING).hierarchy
    assert hierarchy.rank.min() >= 0
    return hierarchy


def assert_reset(space: SearchSpace) -> None:
    assert np.all(space.distance == np.inf)
    assert np.all(space.queue.place == -1)
    assert space.queue.size[0] == 0


@settings(deadline=None)
@given(graphs(12))
def test_searches_from_both_ends_meet_at_the_distance_and_expand_to_a_path(graph: Graph) -> None:
    hierarchy, count = fully_contracted(graph), graph.node_count
    forward, backward, paths = make_search_space(count), make_search_space(count), make_path_space(count)
    tails = np.repeat(np.arange(count), np.diff(graph.first_out)).tolist()
    weights = dict(zip(zip(tails, graph.head.tolist(), strict=True), graph.weight.tolist(), strict=True))
    for start, goal in itertools.product(range(count), repeat=2):
        expected = dijkstra(graph.first_out, graph.head, graph.weight, start)[0][goal]
        seeded = seed(forward, hierarchy.rank, 0, start, 0.0), seed(backward, hierarchy.rank, 0, goal, 0.0)
        start_count, goal_count, best, meeting, _ = climb_both(hierarchy, forward, backward, *seeded, np.inf, -1)
        assert best == pytest.approx(expected, rel=1e-9, abs=0)
        if meeting >= 0:
            path, end = start_path(make_path(1), paths, 0, start)
            path, end = expand_ascent(hierarchy, forward, paths, path, end, meeting)
            path, end = expand_descent(hierarchy, backward, paths, path, end, meeting)
            end_path(path, paths, 0, end)
            nodes, costs = path.node[:end].tolist(), path.cost[1:end].tolist()
            assert (nodes[0], nodes[-1], len(set(nodes))) == (start, goal, len(nodes))
            assert [weights[step] for step in itertools.pairwise(nodes)] == costs
            assert sum(costs) == pytest.approx(expected, rel=1e-9, abs=0)
        assert np.all(paths.place == -1)
        reset_search(forward, start_count)
        reset_search(backward, goal_count)
        assert_reset(forward)
        assert_reset(backward)


def test_a_bound_stops_both_searches() -> None:
    hierarchy = fully_contracted(make_graph(3, [(0, 1, 1.0), (1, 2, 1.0)]))
    forward, backward = make_search_space(3), make_search_space(3)
    seeded = seed(forward, hierarchy.rank, 0, 0, 0.0), seed(backward, hierarchy.rank, 0, 2, 0.0)
    _, _, best, meeting, _ = climb_both(hierarchy, forward, backward, *seeded, 2.0, -1)
    assert (best, meeting) == (2.0, -1)


def test_a_seed_keeps_the_cheapest_label_of_a_node() -> None:
    space, rank = make_search_space(3), np.array([0, 1, -1], np.int32)
    count = seed(space, rank, 0, 1, 5.0)
    count = seed(space, rank, count, 1, 7.0)
    count = seed(space, rank, count, 1, 3.0)
    count = seed(space, rank, count, 2, 4.0)
    assert count == 2
    assert space.touched[:2].tolist() == [1, 2]
    assert space.distance.tolist() == [np.inf, 3.0, 4.0]
    assert space.queue.node[: space.queue.size[0]].tolist() == [1]  # node 2 is not contracted, so it is not queued


def test_a_search_stalls_a_node_that_a_node_above_reaches_at_less_cost() -> None:
    """0 leads up to 1 at cost 9 and to 2 at cost 1, and 2 down to 1 at cost 1: the label of 1 is not expanded."""
    rank = np.array([0, 1, 2, -1], np.int32)
    up = np.array([0, 2, 3, 3, 3], np.int32), np.array([1, 2, 3], np.int32), np.array([9.0, 1.0, 1.0])
    down = np.array([0, 0, 1, 1, 1], np.int32), np.array([2], np.int32), np.array([1.0])
    hierarchy = Hierarchy(rank, *up, np.full(3, -1, np.int32), *down, np.full(1, -1, np.int32))
    space, idle = make_search_space(4), make_search_space(4)
    touched, settled = climb_all(hierarchy, space, idle, 0, False)
    assert (touched, settled) == (3, 3)
    assert space.distance.tolist() == [0.0, 9.0, 1.0, np.inf]


def test_a_loop_inside_a_segment_is_removed() -> None:
    """A shortcut 0 - 2 - 1 appended to a path that comes from 2: the free loop back to 2 disappears."""
    rank = np.array([-1, -1, 0], np.int32)
    up = np.array([0, 0, 0, 1], np.int32), np.array([1], np.int32), np.array([5.0]), np.array([-1], np.int32)
    down = np.array([0, 0, 0, 1], np.int32), np.array([0], np.int32), np.array([0.0]), np.array([-1], np.int32)
    hierarchy, paths = Hierarchy(rank, *up, *down), make_path_space(3)
    path, end = start_path(make_path(1), paths, 0, 2)
    path, end = expand_edge(hierarchy, paths, path, end, 2, 0, -1, 0.0)
    path, end = expand_edge(hierarchy, paths, path, end, 0, 1, 2, 5.0)
    assert path.node[:end].tolist() == [2, 1]
    assert path.cost[1:end].tolist() == [5.0]
