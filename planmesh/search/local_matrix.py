"""The share of a partition in a matrix: searches of many nodes to the overlay, and the costs between them inside."""

from __future__ import annotations

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array, Int64Array
from planmesh.kernels import kernel
from planmesh.search.hierarchy import Hierarchy, SearchSpace, climb_all, make_search_space, reset_search
from planmesh.search.local_search import DOMINATED, mark_dominated
from planmesh.search.matrix import (
    ROOM,
    Labels,
    Memory,
    label_targets,
    lower_rows,
    make_memory,
    sort_into_buckets,
    with_room,
)
from planmesh.search.partition_index import OverlayShare, PartitionIndex
from planmesh.search.read_only import read_only


@kernel
def _search_many(
    hierarchy: Hierarchy,
    share: OverlayShare,
    space: SearchSpace,
    idle: SearchSpace,
    starts: Int32Array,
    backward: bool,
    room: int,
) -> tuple[Int64Array, Int32Array, Float64Array, int]:
    first = np.zeros(len(starts) + 1, np.int64)
    nodes, distances = np.empty(room, np.int32), np.empty(room, np.float64)
    count = 0
    settled_all = 0
    for search in range(len(starts)):
        touched_count, settled = climb_all(hierarchy, space, idle, starts[search], backward)
        settled_all += settled
        nodes, distances = with_room(nodes, distances, count + touched_count)
        numbers = np.empty(touched_count, np.int32)
        number_count = 0
        for position in range(touched_count):
            number = share.number[space.touched[position]]
            if number >= 0:
                numbers[number_count] = number
                number_count += 1
        mark_dominated(share, space, numbers[:number_count], backward)
        for position in range(number_count):
            label = share.node[numbers[position]]
            if space.parent_edge[label] != DOMINATED:
                nodes[count] = numbers[position]
                distances[count] = space.distance[label]
                count += 1
        first[search + 1] = count
        reset_search(space, touched_count)
    return first, nodes[:count].copy(), distances[:count].copy(), settled_all


class LocalMatrix:
    """Searches in indexes of any size. Searches reuse its memory, so each thread needs its own.

    The memory grows with the largest index searched so far, and is never released.
    """

    def __init__(self, room: int = ROOM) -> None:
        """Take the number of labels (at least 1) that results initially have room for."""
        self._room = room
        self._memory: Memory = make_memory(0)
        self._idle = make_search_space(0)

    def search(self, index: PartitionIndex, nodes: Int32Array, backward: bool) -> tuple[Labels, int]:
        """Return what LocalSearch.search finds for each of local `nodes` (int32[k]), without segments.

        The labels are overlay numbers of the partition. The second value is the number of settled nodes. Raises
        ValueError for a number that is not a node's.
        """
        self._check(index, nodes)
        first, numbers, distances, settled = _search_many(
            index.hierarchy,
            index.overlay_share,
            self._memory.space,
            self._idle,
            read_only(nodes, np.int32),
            backward,
            self._room,
        )
        return Labels(first, numbers, distances), settled

    def meet(self, index: PartitionIndex, starts: Int32Array, goals: Int32Array) -> tuple[Float64Array, int]:
        """Return the costs float64[s, t] of the cheapest paths without overlay edges, and the number of settled nodes.

        `starts` int32[s] and `goals` int32[t] are local nodes; a node costs 0 to itself. A path may pass through one
        overlay node. A cost is infinite if there is no such path. Where a path over the overlay costs less still, the
        cost may be that of a dearer path: searches do not go on from nodes that an overlay node reaches at less cost.
        Raises ValueError for a number that is not a node's.
        """
        self._check(index, starts)
        self._check(index, goals)
        hierarchy = index.hierarchy
        first, nodes, distances, settled_back = label_targets(
            hierarchy, self._memory, _seeds(goals), 0, len(goals), False, self._room
        )
        labels = Labels(read_only(first, np.int64), read_only(nodes, np.int32), read_only(distances, np.float64))
        buckets = sort_into_buckets(hierarchy.rank, labels)
        costs = np.full((len(starts), len(goals)), np.inf)
        searches = read_only(np.arange(len(starts), dtype=np.int32), np.int32)
        settled = lower_rows(hierarchy, self._memory, _seeds(starts), searches, buckets, costs, False)
        return costs, settled + settled_back

    def _check(self, index: PartitionIndex, nodes: Int32Array) -> None:
        if len(nodes) and not (int(nodes.min()) >= 0 and int(nodes.max()) < index.node_count):
            raise ValueError(f"expected local nodes below {index.node_count}, got {nodes.min()} to {nodes.max()}")
        if len(self._memory.expanded) < index.node_count:
            self._memory = make_memory(index.node_count)
            self._idle = make_search_space(index.node_count)


def _seeds(nodes: Int32Array) -> Labels:
    count = len(nodes)
    return Labels(
        read_only(np.arange(count + 1, dtype=np.int64), np.int64),
        read_only(nodes, np.int32),
        read_only(np.zeros(count), np.float64),
    )
