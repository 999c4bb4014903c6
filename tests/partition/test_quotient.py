"""The quotient counts the edges between groups, and its order keeps neighbours and regions together."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from planmesh.graph.adjacency import build_graph, edge_tails
from planmesh.graph.model import Graph
from planmesh.partition.mincut import cut
from planmesh.partition.quotient import Quotient, order_by_locality, quotient_of

UNTIMED = settings(deadline=None)  # the first call compiles kernels


@st.composite
def grouped_graphs(draw: st.DrawFn) -> tuple[Graph, list[int], int]:
    nodes, groups = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    node = st.integers(0, nodes - 1)
    rows = draw(st.lists(st.tuples(node, node), max_size=50))
    tails, heads = np.asarray(rows, np.int32).reshape(-1, 2).T
    graph, _, _ = build_graph(nodes, tails, heads, np.ones(len(rows)))
    return graph, draw(st.lists(st.integers(0, groups - 1), min_size=nodes, max_size=nodes)), groups


@UNTIMED
@given(grouped_graphs())
def test_edges_between_groups_are_counted_in_both_directions(case: tuple[Graph, list[int], int]) -> None:
    graph, group_of, groups = case
    expected: Counter[tuple[int, int]] = Counter()
    for tail, head in zip(edge_tails(graph.first_out).tolist(), graph.head.tolist(), strict=True):
        one, other = group_of[tail], group_of[head]
        if one != other:
            expected[one, other] += 1
            expected[other, one] += 1
    quotient = quotient_of(graph, np.array(group_of, np.int32), groups)
    assert quotient.size.tolist() == [group_of.count(group) for group in range(groups)]
    owner = np.repeat(np.arange(groups), np.diff(quotient.first)).tolist()
    pairs = list(zip(owner, quotient.neighbor.tolist(), strict=True))
    assert pairs == sorted(expected)
    assert dict(zip(pairs, quotient.edges.tolist(), strict=True)) == expected


def distance_between_neighbours(quotient: Quotient, order: np.ndarray) -> float:
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    owner = np.repeat(np.arange(len(quotient)), np.diff(quotient.first))
    return float(np.abs(place[owner] - place[quotient.neighbor]).mean())


def test_the_order_is_a_permutation_that_keeps_neighbours_close(square: Graph) -> None:
    quotient = quotient_of(square, cut(square, 64), 64)
    shuffled = np.random.default_rng(2).permutation(64).astype(np.int32)
    order = order_by_locality(quotient)
    assert sorted(order.tolist()) == list(range(64))
    assert distance_between_neighbours(quotient, order) < 0.6 * distance_between_neighbours(quotient, shuffled)


def test_groups_of_a_region_stay_together(square: Graph) -> None:
    quotient = quotient_of(square, cut(square, 32), 32)
    region = (np.arange(32) % 3).astype(np.int32)
    order = order_by_locality(quotient, region)
    assert sorted(order.tolist()) == list(range(32))
    regions = region[order].tolist()
    assert sum(one != other for one, other in itertools.pairwise(regions)) == 2


def test_few_groups_keep_their_order() -> None:
    graph, _, _ = build_graph(3, np.array([0], np.int32), np.array([2], np.int32), np.ones(1))
    assert order_by_locality(quotient_of(graph, np.arange(3, dtype=np.int32), 3)).tolist() == [0, 1, 2]
