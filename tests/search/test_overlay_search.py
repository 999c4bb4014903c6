from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from planmesh.graph.model import Float64Array, Int32Array
from planmesh.search.overlay import Overlay
from planmesh.search.overlay_build import build_overlay, default_levels
from planmesh.search.overlay_search import OverlaySearch
from tests.search.in_process_mesh import make_graph


def ring(node_count: int = 40, levels: int = 2) -> Overlay:
    edges = [(k, (k + 1) % node_count, float(1 + k % 3)) for k in range(node_count)]
    graph = make_graph(node_count, edges)
    groups = [(np.arange(node_count) // 10).astype(np.int32), np.zeros(node_count, np.int32)]
    return build_overlay(graph.first_out, graph.head, graph.weight, groups[2 - levels :])


def at(*nodes: int) -> Int32Array:
    return np.array(nodes, np.int32)


def costs(*distances: float) -> Float64Array:
    return np.array(distances, np.float64)


def test_the_cheapest_pair_of_seeds_wins() -> None:
    overlay = ring()
    search = OverlaySearch()
    found = search.search(overlay, at(0, 3), costs(0.0, 5.0), at(6, 8), costs(1.0, 0.0))
    assert found.cost == 5.0 + 1 + 2 + 3 + 1.0
    assert found.nodes.tolist() == [3, 4, 5, 6]
    assert found.nodes.dtype == np.int32
    assert overlay.weight[overlay.path_edges(found.nodes)].tolist() == [1.0, 2.0, 3.0]


def test_start_and_goal_may_be_one_node() -> None:
    found = OverlaySearch().search(ring(), at(7), costs(2.0), at(7), costs(3.0))
    assert (found.cost, found.nodes.tolist()) == (5.0, [7])


def test_nothing_at_or_above_the_bound_is_returned() -> None:
    overlay, search = ring(), OverlaySearch()
    for bound, expected in ((9.0, 8.0), (8.0, np.inf), (1.0, np.inf)):
        found = search.search(overlay, at(0), costs(0.0), at(4), costs(1.0), bound)
        assert found.cost == expected
        assert (len(found.nodes) > 0) == (expected < np.inf)


def test_without_seeds_there_is_no_path() -> None:
    none, one = (at(), costs()), (at(1), costs(0.0))
    for start, goal in ((none, one), (one, none)):
        assert OverlaySearch().search(ring(), *start, *goal).cost == np.inf


@pytest.mark.parametrize("levels", [0, 1, 2])
def test_an_overlay_of_mapped_arrays_gives_the_same_answers(levels: int, tmp_path: Path) -> None:
    built = ring(levels=levels)
    mapped = {}
    for name, array in built.arrays().items():
        np.save(tmp_path / f"{name}.npy", array)
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    overlay = Overlay.from_arrays(mapped)
    for name, array in overlay.arrays().items():
        assert len(array) == 0 or np.shares_memory(array, mapped[name]), name
    search = OverlaySearch()
    for goal in range(1, 40):
        one = search.search(overlay, at(0), costs(0.0), at(goal), costs(0.0))
        two = search.search(built, at(0), costs(0.0), at(goal), costs(0.0))
        assert one.cost == two.cost == sum(1 + k % 3 for k in range(goal))
        assert one.nodes.tolist() == two.nodes.tolist() == list(range(goal + 1))


def test_overlays_of_equal_graphs_are_equal_byte_for_byte() -> None:
    one, two = ring().arrays(), ring().arrays()
    assert all(one[name].tobytes() == two[name].tobytes() for name in one)


def test_progress_counts_groups() -> None:
    graph = make_graph(4, [(0, 1, 1.0), (1, 2, 1.0), (2, 3, 1.0)])
    calls: list[tuple[int, int]] = []
    build_overlay(
        graph.first_out,
        graph.head,
        graph.weight,
        [np.array([0, 0, 1, 1], np.int32), np.zeros(4, np.int32)],
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_default_levels_group_ranges_of_partitions() -> None:
    for partition_count in (1, 16, 96, 97, 1000, 10_000, 100_000):
        owner = np.arange(partition_count, dtype=np.int32)
        levels = default_levels(owner, partition_count)
        assert np.all(levels[-1] == 0)
        assert (len(levels) > 1) == (partition_count > 96)
        for lower, upper in itertools.pairwise(levels):
            pairs = {(int(a), int(b)) for a, b in zip(lower, upper, strict=True)}
            assert len(pairs) == len({a for a, _ in pairs})


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="a group for each of 2 overlay nodes, got 1"):
        build_overlay(np.array([0, 1, 1]), at(1), costs(1.0), [np.zeros(1, np.int32)])
    with pytest.raises(ValueError, match="none named weight"):
        Overlay.from_arrays({name: array for name, array in ring().arrays().items() if name != "weight"})
