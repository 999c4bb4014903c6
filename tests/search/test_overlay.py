"""Edges along a path are found, and arrays that do not form an overlay are refused."""

from __future__ import annotations

import numpy as np
import pytest

from planmesh.search.overlay import Overlay, find_edges
from planmesh.search.overlay_build import build_overlay
from planmesh.search.read_only import read_only
from tests.search.in_process_mesh import make_graph


def positions(nodes: list[int]) -> list[int]:
    """Find edges of a graph with two parallel edges from 0 to 1, and edges 1 to 2 and 2 to 0."""
    first = read_only(np.array([0, 3, 4, 5]), np.int32)
    head = read_only(np.array([1, 1, 2, 2, 0]), np.int32)
    weight = read_only(np.array([4.0, 3.0, 9.0, 1.0, 1.0]), np.float64)
    found: list[int] = find_edges(first, head, weight, read_only(np.array(nodes), np.int32)).tolist()
    return found


def test_the_cheapest_parallel_edge_is_found() -> None:
    assert positions([0, 1, 2, 0, 2]) == [1, 3, 4, 2]


def test_steps_without_an_edge_are_minus_one() -> None:
    assert positions([1, 0, 1]) == [-1, 1]
    assert positions([2]) == positions([]) == []


def test_the_core_is_what_is_not_contracted() -> None:
    graph = make_graph(4, [(0, 1, 1.0), (1, 2, 1.0), (2, 3, 1.0), (3, 0, 1.0)])
    flat = build_overlay(graph.first_out, graph.head, graph.weight, [])
    assert (flat.node_count, flat.core_count) == (4, 4)
    contracted = build_overlay(graph.first_out, graph.head, graph.weight, [np.zeros(4, np.int32)])
    assert contracted.core_count == np.count_nonzero(contracted.rank < 0) < 4


def test_arrays_of_different_lengths_are_refused() -> None:
    graph = make_graph(3, [(0, 1, 1.0), (1, 2, 1.0)])
    arrays = build_overlay(graph.first_out, graph.head, graph.weight, []).arrays()
    for name in ("first_out", "up_first", "down_first"):
        with pytest.raises(ValueError, match="expected arrays for 3 overlay nodes"):
            Overlay.from_arrays({**arrays, name: arrays[name][:-1]})
