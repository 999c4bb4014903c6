from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planmesh.search.contraction import ContractionLimits
from planmesh.search.local_search import LocalSearch
from planmesh.search.partition_index import PartitionIndex, build_partition_index
from planmesh.search.reference import dijkstra
from tests.search.in_process_mesh import make_graph

NODE_COUNT = 400


def tangle(seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    tails = random.integers(0, NODE_COUNT, 4 * NODE_COUNT)
    heads = (NODE_COUNT * random.random(4 * NODE_COUNT) ** 3).astype(int)
    costs = random.integers(1, 100, 4 * NODE_COUNT)
    graph = make_graph(NODE_COUNT, list(zip(tails.tolist(), heads.tolist(), costs.astype(float).tolist(), strict=True)))
    is_boundary = np.zeros(NODE_COUNT, bool)
    is_boundary[random.choice(NODE_COUNT, 12, replace=False)] = True
    return graph.first_out, graph.head, graph.weight, is_boundary


def test_indexes_of_equal_partitions_are_equal_byte_for_byte() -> None:
    one = build_partition_index(*tangle()).arrays()
    build_partition_index(*tangle(seed=4))
    two = build_partition_index(*tangle()).arrays()
    assert one.keys() == two.keys()
    for name in one:
        assert one[name].dtype == two[name].dtype
        assert one[name].tobytes() == two[name].tobytes(), name


def test_int32_and_read_only_edges_make_the_same_index() -> None:
    first, head, weight, is_boundary = tangle()
    expected = build_partition_index(first, head, weight, is_boundary).arrays()
    for array in (head, weight, is_boundary):
        array.flags.writeable = False
    found = build_partition_index(first.astype(np.int32), head, weight, is_boundary).arrays()
    assert all(expected[name].tobytes() == found[name].tobytes() for name in expected)


def test_boundary_and_core_are_overlay_nodes() -> None:
    first, head, weight, is_boundary = tangle()
    whole = build_partition_index(first, head, weight, is_boundary)
    tangled = build_partition_index(
        first, head, weight, is_boundary, ContractionLimits(1, 1, 1, 1, 0.0, 0, 0.0, 0, table_nodes_max=0)
    )
    assert tangled.overlay_count > whole.overlay_count >= 12
    for index in (whole, tangled):
        assert set(np.flatnonzero(is_boundary)) <= set(index.overlay_node.tolist())
        assert np.all(np.diff(index.overlay_node) > 0)
        assert np.array_equal(np.flatnonzero(index.overlay_number >= 0), index.overlay_node)
        assert np.array_equal(index.overlay_number[index.overlay_node], np.arange(index.overlay_count))
        assert np.array_equal(index.rank < 0, index.overlay_number >= 0)
        contracted = index.rank[index.rank >= 0]
        assert sorted(contracted.tolist()) == list(range(len(contracted)))


def test_edges_lead_upward() -> None:
    index = build_partition_index(*tangle())
    height = np.where(index.rank >= 0, index.rank, NODE_COUNT)
    tails = np.repeat(np.arange(NODE_COUNT), np.diff(index.up_first))
    assert np.all(height[tails] < height[index.up_head])
    heads = np.repeat(np.arange(NODE_COUNT), np.diff(index.down_first))
    assert np.all(height[heads] < height[index.down_tail])


def test_memory_mapped_arrays_are_used_in_place(tmp_path: Path) -> None:
    built = build_partition_index(*tangle())
    mapped = {}
    for name, array in built.arrays().items():
        np.save(tmp_path / f"{name}.npy", array)
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    index = PartitionIndex.from_arrays(mapped)
    for name, array in index.arrays().items():
        assert not array.flags.writeable
        assert len(array) == 0 or np.shares_memory(array, mapped[name]), name
    one, two = LocalSearch(), LocalSearch()
    for node in range(0, NODE_COUNT, 37):
        for backward in (False, True):
            found, expected = one.search(index, node, backward), two.search(built, node, backward)
            assert np.array_equal(found[0], expected[0])
            assert np.array_equal(found[1], expected[1])


def test_overlay_edges_keep_the_distances_between_overlay_nodes() -> None:
    first, head, weight, is_boundary = tangle()
    index = build_partition_index(first, head, weight, is_boundary)
    for number in range(index.overlay_count):
        whole, _, _ = dijkstra(first, head, weight, int(index.overlay_node[number]))
        small, _, _ = dijkstra(index.overlay_first_out, index.overlay_head, index.overlay_weight, number)
        assert np.array_equal(whole[index.overlay_node], small)


def test_arrays_that_are_missing_or_of_another_index_are_refused() -> None:
    arrays = build_partition_index(*tangle()).arrays()
    with pytest.raises(ValueError, match="none named rank"):
        PartitionIndex.from_arrays({name: array for name, array in arrays.items() if name != "rank"})
    with pytest.raises(ValueError, match="expected arrays for"):
        PartitionIndex.from_arrays({**arrays, "up_first": arrays["up_first"][:-1]})
    with pytest.raises(ValueError, match="expected is_boundary for 400 nodes, got 3"):
        build_partition_index(*tangle()[:3], np.zeros(3, bool))
