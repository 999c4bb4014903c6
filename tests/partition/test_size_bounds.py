"""Splits and merges keep every node, the bounds and the regions, and report what they did."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planmesh.graph.model import Graph
from planmesh.partition.groups import Groups
from planmesh.partition.mincut import symmetrised
from planmesh.partition.size_bounds import (
    NAMED_MAX,
    SizeBounds,
    cut_to_bound,
    join_strongest,
    merge_small,
    reduce_to,
    split_large,
)

MakeGraph = Callable[..., Graph]


def groups_of(*sizes: int, region: list[int] | None = None) -> Groups:
    """Make groups of consecutive nodes, named g0, g1 and so on."""
    of = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    names = [f"g{number}" for number in range(len(sizes))]
    return Groups(of, names, None if region is None else np.array(region, np.int32))


def sizes_of(groups: Groups) -> dict[str, int]:
    return dict(zip(groups.names, groups.size().tolist(), strict=True))


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(9, 30), st.data())
def test_a_cut_keeps_the_bound_and_leaves_no_partition_empty(
    weights: list[int], weight_max: int, data: st.DataObject
) -> None:
    count = len(weights)
    node = st.integers(0, count - 1)
    edges = sorted(set(data.draw(st.lists(st.tuples(node, node), max_size=80))))
    first = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount([tail for tail, _ in edges], minlength=count), out=first[1:])
    rows = symmetrised(first, np.array([head for _, head in edges], np.int32))
    partition_of = cut_to_bound(*rows, np.array(weights, np.int64), weight_max, data.draw(st.integers(1, weight_max)))
    weight_of = np.bincount(partition_of, weights=weights)
    assert weight_of.max() <= weight_max
    assert sorted(set(partition_of.tolist())) == list(range(len(weight_of)))


def test_groups_over_the_bound_are_split_and_others_stay(square: Graph) -> None:
    groups, warnings = split_large(square, groups_of(7_000, 2_000, 1_000, region=[4, 5, 6]), 2_500, "domain")
    sizes = sizes_of(groups)
    assert (sizes["g1"], sizes["g2"]) == (2_000, 1_000)
    split = [name for name in sizes if name.startswith("g0.")]
    assert sum(sizes[name] for name in split) == 7_000
    assert max(sizes.values()) <= 2_500
    assert groups.region is not None
    assert {int(groups.region[groups.names.index(name)]) for name in split} == {4}
    assert warnings == [
        f"domain 'g0' has 7,000 of 10,000 nodes (70%), over the bound of 2,500: split into {len(split)} partitions"
    ]


def test_nothing_is_split_within_the_bound(square: Graph) -> None:
    groups = groups_of(5_000, 5_000)
    assert split_large(square, groups, 5_000, "domain") == (groups, [])


def test_only_some_splits_are_named(square: Graph) -> None:
    _, warnings = split_large(square, groups_of(*[1_000] * 10), 500, "region")
    assert len(warnings) == NAMED_MAX + 1
    assert warnings[-1] == f"{10 - NAMED_MAX} more regions over the bound of 500 nodes were split too"


def test_a_larger_group_accepts_as_many_nodes_as_it_has() -> None:
    """Groups 1, 2 and 3 of 3 nodes each border on group 0 of 7 nodes: two of them fit."""
    first = np.array([0, 3, 4, 5, 6], np.int64)
    neighbor, edges = np.array([1, 2, 3, 0, 0, 0], np.int32), np.ones(6, np.int64)
    size, small = np.array([7, 3, 3, 3], np.int64), np.array([False, True, True, True])
    same = np.zeros(4, np.int32)
    assert join_strongest(first, neighbor, edges, size, small, same, 100).tolist() == [-1, 0, 0, -1]
    assert join_strongest(first, neighbor, edges, size, small, same, 12).tolist() == [-1, 0, -1, -1]
    other_region = np.array([0, 0, 1, 0], np.int32)
    assert join_strongest(first, neighbor, edges, size, small, other_region, 100).tolist() == [-1, 0, -1, 0]


def test_a_small_group_does_not_join_its_second_strongest_neighbour() -> None:
    """The strongest neighbour of group 2 is the small group 1, so it joins nothing, not even the larger group 0."""
    first = np.array([0, 1, 2, 4], np.int64)
    neighbor, edges = np.array([2, 2, 0, 1], np.int32), np.array([1, 5, 1, 5], np.int64)
    size, small = np.array([9, 2, 2], np.int64), np.array([False, True, True])
    assert join_strongest(first, neighbor, edges, size, small, np.zeros(3, np.int32), 100).tolist() == [-1, -1, -1]


def test_small_groups_are_merged_inside_their_regions(make_graph: MakeGraph) -> None:
    graph = make_graph(24, [(node, node + 1) for node in range(23)])
    groups = groups_of(*[1] * 24, region=[0] * 12 + [1] * 12)
    merged, [warning] = merge_small(graph, groups, SizeBounds(2, 8, 4), "domain")
    assert merged.region is not None
    for group in range(len(merged)):
        nodes = np.flatnonzero(merged.of == group)
        assert 2 <= len(nodes) <= 8
        assert set((nodes // 12).tolist()) == {int(merged.region[group])}
    assert warning == (
        f"24 domains of fewer than 2 nodes each (24 nodes in all): 0 joined a larger one, "
        f"24 were merged into {len(merged)} partitions"
    )


@pytest.mark.parametrize("partitions", [1, 3, 5])
def test_groups_are_reduced_to_a_number_with_a_warning(square: Graph, partitions: int) -> None:
    groups = groups_of(*[500] * 20)
    reduced, warnings = reduce_to(square, groups, partitions, "domain")
    assert len(reduced) == partitions
    assert reduced.size().sum() == 10_000
    assert warnings == [f"20 domains were merged into the {partitions} partitions requested"]
    for group in range(20):
        assert len(set(reduced.of[groups.of == group].tolist())) == 1
    assert reduce_to(square, groups, 20, "domain") == (groups, [])
    assert reduce_to(square, groups, 0, "domain") == (groups, [])


def test_every_region_keeps_a_group_if_there_are_enough(square: Graph) -> None:
    groups = groups_of(*[1_000] * 10, region=[0] * 8 + [1, 2])
    reduced, _ = reduce_to(square, groups, 4, "domain")
    assert reduced.region is not None
    assert sorted(reduced.region.tolist()) == [0, 0, 1, 2]
    fewer, _ = reduce_to(square, groups, 2, "domain")
    assert len(fewer) == 2
