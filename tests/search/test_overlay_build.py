"""Levels of an overlay preserve distances, whatever the groups, and leave the borders of groups alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planmesh.graph.model import Graph
from planmesh.search.contraction_kernel import BOUND_COUNT, Bound
from planmesh.search.hierarchy import make_search_space
from planmesh.search.overlay_build import GROUP_PARTITIONS, GROUPS_MIN, OVERLAY_LIMITS, build_overlay, default_levels
from planmesh.search.reference import dijkstra
from planmesh.search.verification import overlay_faults
from planmesh.search.verification_kernels import distance_between
from tests.search.in_process_mesh import make_graph
from tests.search.random_graphs import graphs


@settings(deadline=None)
@given(graphs(14), st.data())
def test_any_levels_preserve_the_distances(graph: Graph, data: st.DataObject) -> None:
    count = graph.node_count
    group = st.lists(st.integers(0, 3), min_size=count, max_size=count)
    levels = [np.array(level, np.int32) for level in data.draw(st.lists(group, max_size=3))]
    overlay = build_overlay(graph.first_out, graph.head, graph.weight, levels)
    assert overlay_faults(overlay) == []
    forward, backward = make_search_space(count), make_search_space(count)
    for start in range(count):
        distances, _, _ = dijkstra(graph.first_out, graph.head, graph.weight, start)
        found = [distance_between(overlay.hierarchy, forward, backward, start, goal) for goal in range(count)]
        assert found == pytest.approx(distances.tolist(), rel=1e-9, abs=0)


def test_nodes_at_the_border_of_a_group_stay_until_the_groups_join() -> None:
    chain = make_graph(8, [(node, node + 1, 1.0) for node in range(7)])
    halves = (np.arange(8) // 4).astype(np.int32)
    lower = build_overlay(chain.first_out, chain.head, chain.weight, [halves])
    assert np.flatnonzero(lower.rank < 0).tolist() == [3, 4]
    whole = build_overlay(chain.first_out, chain.head, chain.weight, [halves, np.zeros(8, np.int32)])
    assert np.all(whole.rank[[3, 4]] >= 6)  # after the six inside the halves


def test_middles_are_overlay_numbers_across_levels() -> None:
    """The shortcut through node 5 of the second group becomes part of one through node 4, in overlay numbers."""
    chain = make_graph(7, [(node, node + 1, float(node)) for node in range(6)])
    groups = np.array([0, 0, 0, 1, 1, 1, 1], np.int32)
    overlay = build_overlay(chain.first_out, chain.head, chain.weight, [groups, np.zeros(7, np.int32)])
    middles = [*overlay.up_middle.tolist(), *overlay.down_middle.tolist()]
    shortcuts = [middle for middle in middles if middle >= 0]
    assert shortcuts
    assert all(overlay.rank[middle] >= 0 for middle in shortcuts)


def test_reached_bounds_are_added_to_the_callers_counts() -> None:
    star = [(leaf, 0, 1.0) for leaf in range(1, 12)] + [(0, leaf, 1.0) for leaf in range(12, 23)]
    graph = make_graph(23, star)
    reached = np.ones(BOUND_COUNT, np.int64)
    tight = replace(OVERLAY_LIMITS, pairs_max=1)
    build_overlay(graph.first_out, graph.head, graph.weight, [np.zeros(23, np.int32)], tight, reached=reached)
    assert reached[Bound.PAIRS] > 1
    assert reached[Bound.TABLE_NODES] == 1


def test_a_level_needs_several_groups_to_pay_off() -> None:
    few = GROUP_PARTITIONS * (GROUPS_MIN - 1)
    assert [len(default_levels(np.arange(count, dtype=np.int32), count)) for count in (few, few + 1)] == [1, 2]
    lower, upper = default_levels(np.array([0, 31, 32, 96], np.int32), few + 1)
    assert lower.tolist() == [0, 0, 1, 3]
    assert upper.tolist() == [0, 0, 0, 0]
