"""The joined index numbers the nodes from the top core down, and knows the halves of each shortcut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from planmesh.graph.model import Graph, Int32Array
from planmesh.search.contraction import ContractionLimits
from planmesh.search.joined import JoinedIndex
from tests.search.in_process_mesh import build_mesh, joined_index, make_graph, order_by_partition
from tests.search.random_graphs import LIMITS, partitioned_graphs


def ends_of(index: JoinedIndex) -> tuple[Int32Array, Int32Array]:
    """Return the tail and head of each link, int32[m] each."""
    slot = np.repeat(np.arange(len(index.first) - 1), np.diff(index.first))
    own, other = (slot >> 1).astype(np.int32), index.links["end"]
    is_down = (slot & 1).astype(bool)
    return np.where(is_down, other, own), np.where(is_down, own, other)


@settings(deadline=None)
@given(partitioned_graphs(), LIMITS)
def test_the_structure_of_a_joined_index(
    partitioned: tuple[Graph, Int32Array], limits: ContractionLimits | None
) -> None:
    graph, partition_first, _ = order_by_partition(*partitioned)
    mesh = build_mesh(graph, partition_first, limits)
    index, count = joined_index(mesh), graph.node_count
    assert np.array_equal(index.number[index.node], np.arange(count))
    assert index.core_count == mesh.overlay.core_count
    own = np.repeat(np.arange(count), np.diff(index.first[::2]))
    below_core = own >= index.core_count
    assert np.all(index.links["end"][below_core] < own[below_core])  # every link leads up, to a lower number
    assert np.all(index.links["end"][~below_core] < index.core_count)
    tail, head = ends_of(index)
    weights = dict(zip(zip(*original_ends(graph), strict=True), graph.weight.tolist(), strict=True))
    for link in range(len(index.links)):
        middle, weight = int(index.links["middle"][link]), float(index.links["weight"][link])
        if middle < 0:
            assert index.halves[link].tolist() == [-1, -1]
            assert weights[int(index.node[tail[link]]), int(index.node[head[link]])] == weight
            continue
        lower, upper = index.halves[link].tolist()
        assert (tail[lower], head[lower]) == (tail[link], middle)
        assert (tail[upper], head[upper]) == (middle, head[link])
        assert index.links["weight"][lower] + index.links["weight"][upper] == pytest.approx(weight, rel=1e-9, abs=0)


def original_ends(graph: Graph) -> tuple[list[int], list[int]]:
    return np.repeat(np.arange(graph.node_count), np.diff(graph.first_out)).tolist(), graph.head.tolist()


def test_an_overlay_edge_gets_the_middle_of_its_partition() -> None:
    """0 - 1 - 2 in the first partition, 3 in the second: the shortcut 0 to 2 passes through 1."""
    graph = make_graph(4, [(0, 1, 1.0), (1, 2, 2.0), (2, 3, 4.0), (3, 0, 8.0)])
    index = joined_index(build_mesh(graph, np.array([0, 3, 4], np.int32), levels=[]))
    assert index.core_count == 3
    assert index.node.tolist()[3] == 1
    tail, head = ends_of(index)
    [shortcut] = {
        (int(index.node[tail[link]]), int(index.node[head[link]]), int(index.node[middle]))
        for link, middle in enumerate(index.links["middle"].tolist())
        if middle >= 0
    }
    assert shortcut == (0, 2, 1)
