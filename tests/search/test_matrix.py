"""Matrices by buckets give the costs of plain Dijkstra searches, on any partitioning, levels and bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planmesh.graph.model import Float64Array, Graph, Int32Array
from planmesh.search.contraction import ContractionLimits
from planmesh.search.local_matrix import LocalMatrix
from planmesh.search.matrix import Labels, OverlayMatrix, join_labels, overlay_buckets
from planmesh.search.reference import dijkstra
from tests.search.in_process_mesh import InProcessMesh, build_mesh, make_graph, order_by_partition
from tests.search.random_graphs import LIMITS, partitioned_graphs

ROOM = 1
"""The least room of results, so that each of them grows."""


def matrix(mesh: InProcessMesh, sources: Int32Array, targets: Int32Array, block: int = 3) -> Float64Array:
    """Return the costs as the mesh computes them: the shares of the partitions, then the overlay, in blocks."""
    local, across = LocalMatrix(ROOM), OverlayMatrix(ROOM)
    costs = np.full((len(sources), len(targets)), np.inf)
    seeds = []
    for nodes, backward in ((sources, False), (targets, True)):
        labels = []
        for node in nodes.tolist():
            p = mesh.partition_of(node)
            one = np.array([node - mesh.partition_first[p]], np.int32)
            found, _ = local.search(mesh.indexes[p], one, backward)
            labels.append(Labels(found.first, found.nodes + mesh.overlay_first[p], found.distances))
        seeds.append(join_labels(labels))
    for p, index in enumerate(mesh.indexes):
        begin, end = mesh.partition_first[p], mesh.partition_first[p + 1]
        rows = np.flatnonzero((sources >= begin) & (sources < end))
        columns = np.flatnonzero((targets >= begin) & (targets < end))
        inner, _ = local.meet(index, sources[rows] - begin, targets[columns] - begin)
        costs[np.ix_(rows, columns)] = inner
    blocks = [
        across.climb(mesh.overlay, seeds[1], begin, min(begin + block, len(targets)))[0]
        for begin in range(0, len(targets), block)
    ]
    buckets = overlay_buckets(mesh.overlay, join_labels(blocks))
    for begin in range(0, len(sources), block):
        searches = np.arange(begin, min(begin + block, len(sources)), dtype=np.int32)
        across.lower(mesh.overlay, seeds[0], searches, buckets, costs[begin : begin + block])
    return costs


def check(mesh: InProcessMesh, sources: Int32Array, targets: Int32Array) -> None:
    graph = mesh.graph
    costs = matrix(mesh, sources, targets)
    is_whole = bool(np.all(graph.weight == np.floor(graph.weight)))
    for source, row in zip(sources.tolist(), costs, strict=True):
        expected = dijkstra(graph.first_out, graph.head, graph.weight, source)[0][targets]
        if is_whole:
            assert row.tolist() == expected.tolist()
        else:
            assert row == pytest.approx(expected, rel=1e-9, abs=0)


@settings(max_examples=200, deadline=None)
@given(partitioned_graphs(), LIMITS, st.randoms(use_true_random=False))
def test_matrices_are_exact_on_any_partitioning(
    partitioned: tuple[Graph, Int32Array], limits: ContractionLimits | None, random: object
) -> None:
    """All nodes to all nodes, in any order and some of them twice; also over arbitrary levels."""
    graph, partition_first, _ = order_by_partition(*partitioned)
    nodes = list(range(graph.node_count)) * 2
    random.shuffle(nodes)  # type: ignore[attr-defined]
    every = np.array(nodes, np.int32)
    flat = build_mesh(graph, partition_first, limits, levels=[])
    check(flat, every, every[::-1])
    count = flat.overlay.node_count
    groups = np.array([random.randrange(3) for _ in range(count)], np.int32)  # type: ignore[attr-defined]
    check(build_mesh(graph, partition_first, limits, levels=[groups, np.zeros(count, np.int32)]), every, every[::-1])
    check(build_mesh(graph, partition_first, limits), every, every[::-1])


def wide_graph(kind: str, seed: int, node_count: int = 2_000) -> Graph:
    """Return a random graph: near edges and a few far ones; with a few hubs; in several components; with fractions."""
    random = np.random.default_rng(seed)
    tails = random.integers(0, node_count, 3 * node_count)
    near = np.clip(tails + random.integers(-20, 21, len(tails)), 0, node_count - 1)
    heads = np.where(random.random(len(tails)) < 0.02, random.integers(0, node_count, len(tails)), near)
    costs = random.integers(0, 20, len(tails)).astype(float)
    if kind == "hubs":
        ends = random.random(len(tails))
        hubs = random.integers(0, 12, len(tails)) * (node_count // 12)
        tails, heads = np.where(ends < 0.3, hubs, tails), np.where(ends > 0.7, hubs, heads)
    elif kind == "components":
        heads = tails // 250 * 250 + heads % 250
    elif kind == "fractions":
        costs = random.random(len(tails))
    return make_graph(node_count, list(zip(tails.tolist(), heads.tolist(), costs.tolist(), strict=True)))


@pytest.mark.parametrize("partition_count", [1, 7, 400])
@pytest.mark.parametrize("kind", ["near", "hubs", "components", "fractions"])
def test_larger_graphs(kind: str, partition_count: int) -> None:
    graph = wide_graph(kind, seed=partition_count)
    blocks = (np.arange(graph.node_count) * partition_count // graph.node_count).astype(np.int32)
    mesh = build_mesh(*order_by_partition(graph, blocks)[:2])
    random = np.random.default_rng(3)
    sources, targets = random.integers(0, graph.node_count, (2, 60)).astype(np.int32)
    check(mesh, sources, targets)
    check(mesh, sources[:1], targets)
    check(mesh, sources, targets[:1])


def test_a_local_matrix_agrees_with_single_searches() -> None:
    mesh = build_mesh(*order_by_partition(wide_graph("near", 5), np.arange(2_000, dtype=np.int32) // 500)[:2])
    index, local = mesh.indexes[1], LocalMatrix()
    nodes = np.arange(0, index.node_count, 9, dtype=np.int32)
    for backward in (False, True):
        found, settled = local.search(index, nodes, backward)
        single = [mesh.local.search(index, int(node), backward) for node in nodes]
        assert settled == sum(one.settled for one in single)
        for position, one in enumerate(single):
            begin, end = found.first[position], found.first[position + 1]
            assert found.nodes[begin:end].tolist() == one.nodes.tolist()
            assert found.distances[begin:end].tolist() == one.distances.tolist()
    costs, _ = local.meet(index, nodes, nodes)
    first, graph, met = int(mesh.partition_first[1]), mesh.graph, 0
    for row, start in enumerate(nodes.tolist()):
        distances = dijkstra(graph.first_out, graph.head, graph.weight, start + first)[0][nodes + first]
        meetings = [0.0 if start == goal else mesh.local.meet(index, start, goal)[0] for goal in nodes.tolist()]
        for cost, meeting, distance in zip(costs[row], meetings, distances, strict=True):
            assert cost == meeting if meeting == distance else cost >= distance
            met += meeting == distance < np.inf
    assert met > len(nodes), "some cheapest paths stay inside"


def test_a_number_that_is_no_node_is_refused() -> None:
    mesh = build_mesh(make_graph(3, [(0, 1, 1.0)]), np.array([0, 3], np.int32))
    for bad in ([-1], [0, 3]):
        with pytest.raises(ValueError, match="expected local nodes below 3"):
            LocalMatrix().search(mesh.indexes[0], np.array(bad, np.int32), False)
        with pytest.raises(ValueError, match="expected local nodes below 3"):
            LocalMatrix().meet(mesh.indexes[0], np.array([0], np.int32), np.array(bad, np.int32))


def test_no_sources_and_no_targets() -> None:
    mesh = build_mesh(make_graph(3, [(0, 1, 1.0)]), np.array([0, 3], np.int32))
    none = np.empty(0, np.int32)
    assert LocalMatrix().meet(mesh.indexes[0], none, none)[0].shape == (0, 0)
    assert len(LocalMatrix().search(mesh.indexes[0], none, True)[0].nodes) == 0
