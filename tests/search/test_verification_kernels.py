"""The halves of shortcuts are summed, and lost paths are counted."""

from __future__ import annotations

import numpy as np
import pytest

from planmesh.graph.model import Int32Array
from planmesh.search.hierarchy import Hierarchy, make_search_space
from planmesh.search.read_only import read_only
from planmesh.search.verification_kernels import HALF_MISSING, distance_between, find_lost_paths, sums_of_halves


def ints(*values: int) -> Int32Array:
    return read_only(np.array(values, np.int32), np.int32)


def floats(*values: float) -> np.ndarray:
    return read_only(np.array(values, np.float64), np.float64)


def longs(*values: int) -> np.ndarray:
    return read_only(np.array(values, np.int64), np.int64)


def bridge(to_the_core: float) -> Hierarchy:
    """0 leads down to the contracted node 1 at cost 2, which leads up to 2 at `to_the_core`. There is no shortcut."""
    none = ints(-1)
    return Hierarchy(
        ints(-1, 0, -1),
        *(ints(0, 0, 1, 1), ints(2), floats(to_the_core), none),
        *(ints(0, 0, 1, 1), ints(0), floats(2.0), none),
    )


def test_sums_of_halves() -> None:
    tail, head, middle, weight = ints(0, 0, 2, 0), ints(2, 2, 0, 0), ints(1, -1, 1, 1), floats(9.0, 7.0, 9.0, 9.0)
    assert sums_of_halves(bridge(3.0), tail, head, middle, weight).tolist() == [5.0, 7.0, HALF_MISSING, HALF_MISSING]


def test_distances_need_edges_that_lead_up_from_both_ends() -> None:
    forward, backward = make_search_space(3), make_search_space(3)
    found = [distance_between(bridge(3.0), forward, backward, start, goal) for start, goal in ((1, 2), (0, 1), (0, 2))]
    assert found == [3.0, 2.0, np.inf]  # 0 to 2 needs the missing shortcut
    assert np.all(forward.distance == np.inf)
    assert np.all(backward.distance == np.inf)


@pytest.mark.parametrize(("edge", "lost"), [(None, (1, 0, 2, 5.0)), (5.0, (0, -1, -1, 0.0)), (6.0, (1, 0, 2, 5.0))])
def test_a_path_through_a_contracted_node_needs_one_as_cheap(
    edge: float | None, lost: tuple[int, int, int, float]
) -> None:
    """The hierarchy has an edge from 0 to 2 beside the path through 1, or none."""
    hierarchy = bridge(3.0)
    if edge is not None:
        hierarchy = hierarchy._replace(
            up_first=ints(0, 1, 2, 2), up_head=ints(2, 2), up_weight=floats(edge, 3.0), up_middle=ints(1, -1)
        )
    limit = np.full(3, np.inf)
    rows = longs(0, 0, 0, 0), ints(), floats()
    over = longs(0, 1, 1, 1), ints(1), floats(2.0)
    forward, backward, targets = make_search_space(3), make_search_space(3), np.empty(3, np.int32)
    found = find_lost_paths(hierarchy, *rows, *over, 0, 3, forward, backward, limit, targets, 1e-9)
    assert found == (1, *lost)  # one pair is compared
    assert np.all(limit == np.inf)
