"""Checks of rows and bounds of calls, without a store."""

from __future__ import annotations

import numpy as np
import pytest

from planmesh.errors import InvalidGraph, InvalidRequest, LimitExceeded
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.store import row_checks
from planmesh.store.protocol import DEPTH_MAX, ROWS_PER_CALL_MAX
from planmesh.store.row_checks import (
    cheapest_of_pairs,
    check_count,
    check_depth,
    check_edges,
    check_nodes,
    last_of_ids,
    no_patterns,
    slices,
)


def test_a_bad_row_is_named_by_its_source_and_number() -> None:
    with pytest.raises(InvalidGraph) as raised:
        check_nodes(NodeRows.filled(["a", ""]), "redis://host", 11)
    assert raised.value.metadata["source"] == "redis://host"
    assert raised.value.metadata["record"] == "row 12"
    with pytest.raises(InvalidGraph, match="finite cost"):
        check_edges(EdgeRows(["a"], ["b"], np.array([np.nan])))


def test_negative_zero_becomes_zero() -> None:
    rows = check_edges(EdgeRows(["a"], ["b"], np.array([-0.0])))
    assert not np.signbit(rows.costs).any()


def test_the_bounds_of_a_call() -> None:
    check_count(ROWS_PER_CALL_MAX)
    with pytest.raises(LimitExceeded, match="send them in several calls"):
        check_count(ROWS_PER_CALL_MAX + 1)
    for depth in (1, DEPTH_MAX):
        check_depth(depth)
    for depth in (0, DEPTH_MAX + 1):
        with pytest.raises(InvalidRequest, match=f"got {depth}"):
            check_depth(depth)


def test_of_repeated_pairs_the_cheapest_stays_in_the_first_place() -> None:
    rows = EdgeRows(["a", "b", "a", "a"], ["b", "a", "b", "b"], np.array([3.0, 1.0, 2.0, 4.0]))
    kept = cheapest_of_pairs(rows)
    assert (kept.sources, kept.targets, kept.costs.tolist()) == (["a", "b"], ["b", "a"], [2.0, 1.0])
    assert cheapest_of_pairs(kept) is kept


def test_of_repeated_nodes_the_last_stays_in_the_first_place() -> None:
    kept = last_of_ids(NodeRows(["a", "b", "a"], ["1", "2", "3"], ["x", "y", "z"]))
    assert (kept.ids, kept.domains, kept.regions) == (["a", "b"], ["3", "2"], ["z", "y"])
    assert last_of_ids(kept) is kept


def test_slices_cover_every_row_once() -> None:
    assert [list(range(7))[one] for one in slices(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert slices(0, 3) == []


def test_the_error_of_a_store_without_patterns_names_those_with_them() -> None:
    message = no_patterns("sqlite:///x").message
    assert all(store in message for store in row_checks.STORES_WITH_PATTERNS)
