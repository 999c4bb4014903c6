"""Compiles or loads every kernel before the first request."""

from __future__ import annotations

import numpy as np

from planmesh.graph.model import Graph
from planmesh.search.batch_local import BatchLocalSearch
from planmesh.search.batch_paths import assemble
from planmesh.search.batch_segments import Ends, OverlayMap, Segments, resolve
from planmesh.search.certificate import find_violation
from planmesh.search.changed_path import cheapest_path
from planmesh.search.contraction import ContractionLimits
from planmesh.search.delta import NOTHING_BLOCKED, UP, Delta, make_blocked
from planmesh.search.index_list import IndexList
from planmesh.search.local_matrix import LocalMatrix
from planmesh.search.local_search import LocalLabels, LocalSearch
from planmesh.search.matrix import OverlayMatrix, overlay_buckets
from planmesh.search.mixed_graph import make_mixed_base, overlay_numbers
from planmesh.search.mixed_kernels import settle_again
from planmesh.search.mixed_search import GOAL_SIDE, MixedSearch
from planmesh.search.overlay import Overlay
from planmesh.search.overlay_build import build_overlay, default_levels
from planmesh.search.overlay_search import OverlayLabels, OverlaySearch
from planmesh.search.partition_index import PartitionIndex, build_partition_index
from planmesh.search.plain_search import PlainSearch
from planmesh.search.read_only import read_only
from planmesh.search.reference import BidirectionalDijkstra, dijkstra
from planmesh.search.unpack import SegmentKind


def warm() -> None:
    """Run every kernel once on a ring of six nodes, so that no request waits for a compiler.

    It takes half a minute the first time, and a second or two once Numba's disk cache holds the kernels.
    """
    node_count = 6
    first = np.arange(node_count + 1, dtype=np.int64)
    head = ((np.arange(node_count) + 1) % node_count).astype(np.int32)
    weight = np.ones(node_count)
    is_boundary = np.zeros(node_count, bool)
    is_boundary[0] = True
    for table_nodes_max in (0, node_count):  # a table of 0 nodes makes the long witness searches run
        strict = ContractionLimits(growth_factor_cheap=0, growth_slack_cheap=0, table_nodes_max=table_nodes_max)
        build_partition_index(first, head, weight, is_boundary, strict)
    index = build_partition_index(first, head, weight, is_boundary)
    local = LocalSearch()
    up = local.search(index, 2, False)
    down = local.search(index, 4, True)
    local.meet(index, 2, 4)
    kinds = np.array([SegmentKind.START, SegmentKind.GOAL, SegmentKind.INNER], np.uint8)
    local.unpack(index, kinds, np.array([2, 0, 2], np.int32), np.array([0, 4, 4], np.int32))
    local.short_segments(index, 16, 100)
    _warm_lists(local, index)
    levels = default_levels(np.zeros(node_count, np.int32), 1)
    overlay = build_overlay(first, head, weight, levels)
    search = OverlaySearch()
    path = search.search(overlay, up[0], up[1], down[0], down[1])
    overlay.path_edges(path.nodes)
    _warm_batches(overlay, search, up, down)
    _warm_changes(overlay)
    ends = np.array([2, 4], np.int32)
    many = LocalMatrix()
    seeds, _ = many.search(index, ends, False)
    costs, _ = many.meet(index, ends, ends)
    across = OverlayMatrix()
    labels, _ = across.climb(overlay, many.search(index, ends, True)[0], 0, 2)
    across.lower(overlay, seeds, np.arange(2, dtype=np.int32), overlay_buckets(overlay, labels), costs)
    distances, parents, _ = dijkstra(first, head, weight, 0)
    find_violation(first, head, weight, 0, distances, parents)
    BidirectionalDijkstra(Graph(first, head, weight)).path(2, 4)
    plain = PlainSearch(np.array([0, node_count], np.int32), 2, 4)
    plain.advance(1)


def _warm_lists(local: LocalSearch, index: PartitionIndex) -> None:
    """Search and expand in a list of two indexes."""
    indexes, together = IndexList(2), BatchLocalSearch(local)
    places = indexes.places(np.arange(2, dtype=np.int32), lambda _: index)
    ends = np.array([2, 4], np.int32)
    together.search_many(indexes, places, ends, np.array([0, 1], np.uint8))
    together.meet_many(indexes, places, ends, ends[::-1].copy())
    kinds = np.array([SegmentKind.START, SegmentKind.GOAL], np.uint8)
    together.unpack_many(indexes, places, kinds, np.array([2, 0], np.int32), np.array([0, 4], np.int32))


def _warm_batches(overlay: Overlay, search: OverlaySearch, up: LocalLabels, down: LocalLabels) -> None:
    """Search, resolve and assemble a batch of one plan without segments from workers."""
    one, none = np.zeros(1, np.int32), Segments.of(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0))
    first = np.cumsum([0, len(up.nodes), len(down.nodes)])
    labels = OverlayLabels(
        first, np.concatenate([up.nodes, down.nodes]), np.concatenate([up.distances, down.distances])
    )
    paths = search.search_many(overlay, labels, one, one + np.int32(1), np.full(1, np.inf))
    edges = len(overlay.head)
    stored = (np.zeros(edges + 1, np.int64), np.zeros(0, np.int32), np.zeros(0))
    arrays = (overlay.first_out, overlay.head, overlay.weight, one, one, np.ones(edges, np.bool_), *stored)
    overlay_map = OverlayMap(*(read_only(array, array.dtype.type) for array in arrays))
    ends = Ends(one, one, one, one, one, one, one, one + np.int32(1), np.zeros(1, np.bool_))
    resolved = resolve(overlay_map, ends, paths, labels, none)
    assemble(overlay_map, ends, np.zeros(1), 0.0, resolved, none, none)


def _warm_changes(overlay: Overlay) -> None:
    """Search a base of which one node is an overlay node, and its delta, for one path and for all distances."""
    nodes = overlay.node_count
    numbers = np.arange(nodes, dtype=np.int32)
    first = np.array([0, nodes], np.int32)
    base = make_mixed_base(first, overlay, first, numbers, overlay_numbers(numbers, nodes))
    delta = Delta(first, base.overlay_of, capacity=4)
    delta.set_cost(2, 3, 1.0, 2.0, 1)
    delta.set_state(4, UP, 1)
    edges = base.first_out, base.head, base.weight
    search = MixedSearch(base, nodes + delta.capacity, lambda _: (edges, edges))
    view = delta.view(1)
    view.cost(2, 3)
    view.state(4)
    for opened in (np.zeros(1, np.uint8), np.ones(1, np.uint8)):
        search.path(view, opened, 0, 3, NOTHING_BLOCKED)
    blocked = make_blocked([0], [(0, 1)])
    cheapest_path(search, base, view, 2, 3, lambda _: [], blocked)
    search.distances(view, opened, 2, np.array([3], np.int32), blocked)
    costs = search.costs_to(view, 3, NOTHING_BLOCKED)
    costs.of(np.array([2], np.int32))
    settle_again(base, search._sides[GOAL_SIDE], 0)
