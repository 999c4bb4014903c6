"""Each check of the structure finds its fault, counts it, and describes the first occurrence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from planmesh.graph.model import Graph, Int32Array
from planmesh.search.hierarchy import Hierarchy
from planmesh.search.partition_index import PartitionIndex, build_partition_index
from planmesh.search.verification import (
    EdgeList,
    Fault,
    adjacency_faults,
    ascending_rows_faults,
    hierarchy_faults,
    index_faults,
    original_faults,
    owners,
    rank_faults,
    shortcut_faults,
)
from tests.search.in_process_mesh import make_graph
from tests.search.random_graphs import partitioned_graphs

NAN, INF = float("nan"), float("inf")


def ints(*values: int) -> Int32Array:
    return np.array(values, np.int32)


@settings(deadline=None)
@given(partitioned_graphs())
def test_a_built_index_has_no_faults(partitioned: tuple[Graph, Int32Array]) -> None:
    graph, labels = partitioned
    rows = graph.first_out, graph.head, graph.weight
    assert index_faults(build_partition_index(*rows, labels == 0), *rows) == []


@pytest.mark.parametrize(
    ("first", "end", "cost", "expected"),
    [
        ([0, 1, 3], [1, 0, 1], [1.0, 0.0, 2.5], []),
        ([0, 1, 3], [1, 0], [1.0, 1.0, 1.0], [("shape", 1)]),
        ([0, 1, 2], [1, 0, 1], [1.0, 1.0, 1.0], [("firsts", 1)]),
        ([1, 1, 3], [1, 0, 1], [1.0, 1.0, 1.0], [("firsts", 1)]),
        ([0, 4, 3], [1, 0, 1], [1.0, 1.0, 1.0], [("firsts", 1)]),
        ([], [], [], [("firsts", 1)]),
        ([0, 1, 3], [1, 2, -1], [1.0, 1.0, 1.0], [("range", 2)]),
        ([0, 1, 3], [1, 0, 1], [NAN, INF, -1.0], [("costs", 3)]),
        ([0, 1, 3], [5, 0, 1], [1.0, -1.0, 1.0], [("range", 1), ("costs", 1)]),
    ],
)
def test_adjacency(first: list[int], end: list[int], cost: list[float], expected: list[tuple[str, int]]) -> None:
    faults = adjacency_faults("out", ints(*first), ints(*end), np.array(cost, np.float64), 2)
    assert [(fault.check, fault.times) for fault in faults] == expected
    assert all(fault.expected.startswith("out: ") for fault in faults)


def test_heads_of_a_row_ascend() -> None:
    first = ints(0, 3, 5)
    assert ascending_rows_faults("out", first, ints(0, 1, 2, 0, 1)) == []
    [fault] = ascending_rows_faults("out", first, ints(0, 2, 2, 3, 1))
    assert (fault.check, fault.times, fault.found, fault.nodes) == ("rows", 2, "2 before 2", (0,))


@pytest.mark.parametrize(("rank", "times"), [([-1, 1, 0], 0), ([0, 0, -1], 1), ([2, 0, -1], 1), ([-2, 0, 1], 3)])
def test_ranks_are_consecutive(rank: list[int], times: int) -> None:
    assert sum(fault.times for fault in rank_faults(ints(*rank))) == times


def chain() -> Hierarchy:
    """0 - 1 - 2 with 1 contracted: down edge 0 to 1 at cost 2, up edge 1 to 2 at cost 3."""
    return Hierarchy(
        ints(-1, 0, -1),
        *(ints(0, 0, 1, 1), ints(2), np.array([3.0]), ints(-1)),
        *(ints(0, 0, 1, 1), ints(0), np.array([2.0]), ints(-1)),
    )


def shortcuts(*rows: tuple[int, int, int, float]) -> EdgeList:
    """Make edges of (tail, head, middle, weight)."""
    tail, head, middle, weight = zip(*rows, strict=True)
    return EdgeList(ints(*tail), ints(*head), np.array(weight, np.float64), ints(*middle))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(0, 2, 1, 5.0), (0, 2, -1, 9.0)], []),
        ([(0, 2, 1, 5.0 * (1 + 1e-12))], []),
        (
            [(0, 2, 1, 5.1), (0, 2, 1, 4.9)],
            [Fault("sum", "up: the sum of the halves of a shortcut, 5.0", "5.1", 2, (0, 1, 2))],
        ),
        (
            [(0, 2, 1, 5.0), (2, 0, 1, 5.0)],
            [Fault("halves", "up: both halves of a shortcut at its middle", "one half or none", 1, (2, 1, 0))],
        ),
        (
            [(0, 1, 2, 5.0)],
            [
                Fault("middle", "up: a middle contracted before both ends", "the rank -1", 1, (0, 2, 1)),
                Fault("halves", "up: both halves of a shortcut at its middle", "one half or none", 1, (0, 2, 1)),
            ],
        ),
    ],
)
def test_shortcuts_are_the_sum_of_their_halves(rows: list[tuple[int, int, int, float]], expected: list[Fault]) -> None:
    assert shortcut_faults("up", chain(), shortcuts(*rows)) == expected


def test_edges_without_a_middle_are_edges_of_the_graph() -> None:
    graph = make_graph(3, [(0, 1, 1.0), (1, 2, 2.0)])
    rows = graph.first_out, graph.head, graph.weight
    right = shortcuts((0, 1, -1, 1.0), (1, 2, -1, 2.0), (0, 2, 1, 7.0))
    assert original_faults("up", right, *rows) == []
    [missing] = original_faults("up", shortcuts((0, 1, -1, 1.0), (1, 0, -1, 1.0), (0, 2, -1, 3.0)), *rows)
    assert (missing.check, missing.times, missing.nodes) == ("edge", 2, (1, 0))
    [wrong] = original_faults("up", shortcuts((1, 2, -1, 2.5)), *rows)
    assert (wrong.check, wrong.found, wrong.nodes) == ("edge cost", "2.5", (1, 2))
    empty = make_graph(3, [])
    [fault] = original_faults("up", shortcuts((0, 1, -1, 1.0)), empty.first_out, empty.head, empty.weight)
    assert fault.check == "edge"


@pytest.mark.parametrize(
    ("change", "checks"),
    [
        ({}, set()),
        ({"rank": ints(-1, 1, -1)}, {"rank"}),
        ({"up_first": ints(0, 0, 1)}, {"shape"}),
        ({"up_middle": ints()}, {"shape"}),
        ({"down_middle": ints(3)}, {"range"}),
        ({"up_middle": ints(-2)}, {"range"}),
        ({"down_tail": ints(7)}, {"range"}),
        ({"up_first": ints(0, 1, 1, 1)}, {"direction"}),
    ],
)
def test_hierarchies(change: dict[str, Any], checks: set[str]) -> None:
    assert {fault.check for fault in hierarchy_faults(chain()._replace(**change), core_edges=False)} == checks


def test_only_an_overlay_has_edges_between_core_nodes() -> None:
    between = chain()._replace(up_first=ints(0, 1, 2, 2), up_head=ints(2, 2), up_weight=np.array([9.0, 3.0]))
    between = between._replace(up_middle=ints(-1, -1))
    assert hierarchy_faults(between, core_edges=True) == []
    [fault] = hierarchy_faults(between, core_edges=False)
    assert (fault.check, fault.nodes) == ("direction", (0, 2))


def index_of_chain() -> tuple[PartitionIndex, Graph]:
    graph = make_graph(3, [(0, 1, 2.0), (1, 2, 3.0)])
    boundary = np.array([True, False, True])
    return build_partition_index(graph.first_out, graph.head, graph.weight, boundary), graph


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("overlay_node", ints(2, 0), "numbers"),
        ("overlay_node", ints(0, 3), "numbers"),
        ("overlay_number", ints(0, -1, 0), "numbers"),
        ("rank", ints(-1, -1, -1), "rank"),
        ("overlay_weight", np.array([6.0]), "sum"),
        ("overlay_middle", ints(-1), "edge"),
        ("overlay_middle", ints(1, 1), "shape"),
        ("overlay_head", ints(2), "range"),
        ("up_weight", np.array([4.0]), "edge cost"),
    ],
)
def test_indexes(name: str, value: Any, check: str) -> None:
    index, graph = index_of_chain()
    rows = graph.first_out, graph.head, graph.weight
    assert index_faults(index, *rows) == []
    changed = PartitionIndex.from_arrays({**index.arrays(), name: value})
    assert check in {fault.check for fault in index_faults(changed, *rows)}


def test_an_index_of_another_partition_is_a_fault() -> None:
    index, _ = index_of_chain()
    other = make_graph(4, [(0, 1, 2.0)])
    [fault] = index_faults(index, other.first_out, other.head, other.weight)
    assert (fault.check, fault.expected) == ("shape", "an index of 4 nodes")


def test_owners_repeat_each_node_for_its_edges() -> None:
    assert owners(ints(0, 2, 2, 3)).tolist() == [0, 0, 2]
