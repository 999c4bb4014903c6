"""The segments of many paths at once: where each comes from, and which of them workers still have to expand.

A batch of q plans is arrays throughout. `planmesh.search.batch_paths` joins the segments.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from planmesh.graph.model import BoolArray, Float64Array, Int32Array, Int64Array, UInt8Array
from planmesh.kernels import kernel
from planmesh.search.overlay_search import OverlayLabels, OverlayPaths
from planmesh.search.read_only import read_only
from planmesh.search.unpack import EDGE, GOAL, INNER, START

ORIGINAL: Final = 0
STORED: Final = 1
LOCAL: Final = 2
EXPANDED: Final = 3
"""Where a segment comes from: an edge of the graph in the overlay, the segments stored beside the overlay, the segments
that came with a local search, an expansion by a worker."""


class Segments(NamedTuple):
    """k segments, one after another: `node` int32 (global numbers, both ends included) and `cost` float64 of the edges.

    Segment i has the positions `first[i]` to `first[i + 1]` - 1 of `node`, and `cost_first[i]` to `cost_first[i + 1]` -
    1 of `cost` (both int64[k + 1]). A segment without nodes is unknown.
    """

    first: Int64Array
    cost_first: Int64Array
    node: Int32Array
    cost: Float64Array

    @classmethod
    def of(cls, lengths: Int32Array, nodes: Int32Array, costs: Float64Array) -> Segments:
        """Return segments of `lengths` int32[k] nodes each."""
        first = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=first[1:])
        cost_first = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(np.maximum(lengths - 1, 0), out=cost_first[1:])
        return cls(
            read_only(first, np.int64),
            read_only(cost_first, np.int64),
            read_only(nodes, np.int32),
            read_only(costs, np.float64),
        )


class OverlayMap(NamedTuple):
    """What paths over an overlay of n nodes and m level-1 edges consist of.

    `first_out` int32[n + 1], `head` int32[m], `weight` float64[m]: level 1. `number` int32[n]: global numbers of the
    nodes. `partition_first` int32[P + 1]: the first overlay node of each partition. `is_original` bool[m] marks edges
    of the graph. `stored_first` int64[m + 1], `stored_node` int32 and `stored_cost` float64: the stored segments, as in
    planmesh.snapshot.short_segments.
    """

    first_out: Int32Array
    head: Int32Array
    weight: Float64Array
    number: Int32Array
    partition_first: Int32Array
    is_original: BoolArray
    stored_first: Int64Array
    stored_node: Int32Array
    stored_cost: Float64Array


class Ends(NamedTuple):
    """Starts and goals of q plans: global numbers, partitions, local numbers, and positions of their labels.

    All int32[q]. `inner` bool[q] says that the cheapest path is the one inside the partition of both ends.
    """

    start: Int32Array
    goal: Int32Array
    start_partition: Int32Array
    goal_partition: Int32Array
    start_local: Int32Array
    goal_local: Int32Array
    start_label: Int32Array
    goal_label: Int32Array
    inner: BoolArray


class Resolved(NamedTuple):
    """The segments of q paths, in order.

    Path i has the segments `first[i]` to `first[i + 1]` - 1 (int64[q + 1]). Of each, `source` uint8 says where it comes
    from, `place` int64 its position there, and `tail` int32 the global number of its first node. `missing` int32[m, 4]
    are partition, SegmentKind, first and second node of the segments to expand, for which `place` is the row.
    """

    first: Int64Array
    source: UInt8Array
    place: Int64Array
    tail: Int32Array
    missing: Int32Array


@kernel
def _partition_of(partition_first: Int32Array, node: int) -> int:
    low, high = 0, len(partition_first) - 1
    while high - low > 1:
        middle = (low + high) >> 1
        if partition_first[middle] <= node:
            low = middle
        else:
            high = middle
    return low


@kernel
def _edge_between(overlay: OverlayMap, tail: int, head: int) -> int:
    found = -1
    best = np.inf
    for edge in range(overlay.first_out[tail], overlay.first_out[tail + 1]):
        if overlay.head[edge] == head and overlay.weight[edge] < best:
            best = overlay.weight[edge]
            found = edge
    return found


@kernel
def _label_segment(
    label_first: Int64Array, label_node: Int32Array, local_first: Int64Array, label: int, node: int
) -> int:
    """Return the position of the segment between a place and an overlay node, -1 when it is unknown."""
    for position in range(label_first[label], label_first[label + 1]):
        if label_node[position] == node:
            return position if local_first[position + 1] > local_first[position] else -1
    return -1


@kernel(inline=True)
def _put(listed: Resolved, end: int, source: int, place: int, tail: int) -> int:
    listed.source[end] = source
    listed.place[end] = place
    listed.tail[end] = tail
    return end + 1


@kernel(inline=True)
def _put_missing(
    listed: Resolved, end: int, lacking: int, tail: int, partition: int, kind: int, first: int, second: int
) -> tuple[int, int]:
    listed.missing[lacking, 0] = partition
    listed.missing[lacking, 1] = kind
    listed.missing[lacking, 2] = first
    listed.missing[lacking, 3] = second
    return _put(listed, end, EXPANDED, lacking, tail), lacking + 1


@kernel
def _resolve_path(
    overlay: OverlayMap,
    ends: Ends,
    query: int,
    path: Int32Array,
    start_segment: int,
    goal_segment: int,
    listed: Resolved,
    end: int,
    lacking: int,
) -> tuple[int, int, bool]:
    """List the segments of one path; return the new numbers of segments and missing ones, and whether edges join it.

    The segments at its ends are positions among the local ones, -1 for an unknown one.
    """
    node = path[0]
    if overlay.number[node] != ends.start[query]:
        partition = ends.start_partition[query]
        within = node - overlay.partition_first[partition]
        if start_segment >= 0:
            end = _put(listed, end, LOCAL, start_segment, ends.start[query])
        else:
            local = ends.start_local[query]
            end, lacking = _put_missing(listed, end, lacking, ends.start[query], partition, START, local, within)
    for position in range(len(path) - 1):
        one, two = path[position], path[position + 1]
        edge = _edge_between(overlay, one, two)
        if edge < 0:
            return end, lacking, False
        if overlay.is_original[edge]:
            end = _put(listed, end, ORIGINAL, edge, overlay.number[one])
        elif overlay.stored_first[edge + 1] > overlay.stored_first[edge]:
            end = _put(listed, end, STORED, edge, overlay.number[one])
        else:
            partition = _partition_of(overlay.partition_first, one)
            base = overlay.partition_first[partition]
            end, lacking = _put_missing(
                listed, end, lacking, overlay.number[one], partition, EDGE, one - base, two - base
            )
    node = path[-1]
    if overlay.number[node] != ends.goal[query]:
        partition = ends.goal_partition[query]
        within = node - overlay.partition_first[partition]
        if goal_segment >= 0:
            end = _put(listed, end, LOCAL, goal_segment, overlay.number[node])
        else:
            local = ends.goal_local[query]
            end, lacking = _put_missing(listed, end, lacking, overlay.number[node], partition, GOAL, within, local)
    return end, lacking, True


@kernel
def _resolve(
    overlay: OverlayMap,
    ends: Ends,
    path_first: Int64Array,
    path_node: Int32Array,
    label_first: Int64Array,
    label_node: Int32Array,
    local_first: Int64Array,
) -> tuple[Resolved, int]:
    """See `resolve`. The last result is the first path with nodes that no edge joins, -1 when there is none."""
    count = len(ends.start)
    room = len(path_node) + 2 * count
    listed = Resolved(
        np.zeros(count + 1, np.int64),
        np.empty(room, np.uint8),
        np.empty(room, np.int64),
        np.empty(room, np.int32),
        np.empty((room, 4), np.int32),
    )
    end = 0
    lacking = 0
    for query in range(count):
        path = path_node[path_first[query] : path_first[query + 1]]
        if ends.inner[query]:
            start, goal = ends.start_local[query], ends.goal_local[query]
            end, lacking = _put_missing(
                listed, end, lacking, ends.start[query], ends.start_partition[query], INNER, start, goal
            )
        elif len(path) > 0:
            start_segment = _label_segment(label_first, label_node, local_first, ends.start_label[query], path[0])
            goal_segment = _label_segment(label_first, label_node, local_first, ends.goal_label[query], path[-1])
            end, lacking, joined = _resolve_path(
                overlay, ends, query, path, start_segment, goal_segment, listed, end, lacking
            )
            if not joined:
                return listed, query
        listed.first[query + 1] = end
    return (
        Resolved(
            listed.first,
            listed.source[:end].copy(),
            listed.place[:end].copy(),
            listed.tail[:end].copy(),
            listed.missing[:lacking].copy(),
        ),
        -1,
    )


def resolve(overlay: OverlayMap, ends: Ends, paths: OverlayPaths, labels: OverlayLabels, local: Segments) -> Resolved:
    """Return the segments of q paths: those of `ends.inner` inside a partition, the others over `paths` (q of them).

    `local` has one segment for each label: between the place of the search and the label's overlay node. A plan whose
    start is its goal has no segments, and an empty path. Raises ValueError for a path whose nodes no edge joins.
    """
    resolved, bad = _resolve(
        overlay,
        Ends(*(read_only(array, array.dtype.type) for array in ends)),
        read_only(paths.first, np.int64),
        read_only(paths.node, np.int32),
        read_only(labels.first, np.int64),
        read_only(labels.node, np.int32),
        local.first,
    )
    if bad >= 0:
        raise ValueError(f"expected overlay paths along edges, got path {bad} without one")
    return Resolved(*resolved)
