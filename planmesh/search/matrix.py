"""Costs from many sources to many targets by buckets (Knopp et al. 2007), in a partition or in the overlay.

A search upward from each target leaves an entry in the bucket of every node that it settles. A search upward from each
source then reads the buckets of the nodes that it settles. So a matrix of s x t costs takes s + t searches.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array, Int64Array
from planmesh.kernels import kernel
from planmesh.search.hierarchy import Hierarchy, SearchSpace, make_search_space, reset_search, seed, set_label
from planmesh.search.node_queue import clear_queue, queue_pop, queue_put
from planmesh.search.overlay import Overlay
from planmesh.search.read_only import read_only

ROOM = 1_024
"""Labels that the result of many searches initially has room for. A full result doubles its room."""

SETTLED_PER_CHECK = 32
"""Nodes of the top core that a search settles between two looks at the dearest cost of its row."""


class Labels(NamedTuple):
    """Labels of k searches: those of search i have the positions first[i] to first[i + 1] - 1.

    `first` int64[k + 1], `nodes` int32, `distances` float64. Each search labels a node at most once.
    """

    first: Int64Array
    nodes: Int32Array
    distances: Float64Array


class Buckets(NamedTuple):
    """The labels of t targets by node: those of node n have the positions first[n] to first[n + 1] - 1.

    `first` int64[n + 1], `target` int32, `distance` float64. `least` is the least distance in a bucket of a node that
    is not contracted, infinite when there is none.
    """

    first: Int64Array
    target: Int32Array
    distance: Float64Array
    least: float


class Memory(NamedTuple):
    """Labels of one search over up to n nodes, and room for the nodes int32[n] that it expanded."""

    space: SearchSpace
    expanded: Int32Array


def make_memory(node_count: int) -> Memory:
    """Allocate memory for searches over up to n nodes: 40 bytes a node."""
    return Memory(make_search_space(node_count), np.empty(node_count, np.int32))


@kernel
def with_room(nodes: Int32Array, distances: Float64Array, end: int) -> tuple[Int32Array, Float64Array]:
    """Return both arrays with room for at least `end` elements, copied if they are shorter."""
    if end <= len(nodes):
        return nodes, distances
    room = max(end, 2 * len(nodes))
    more_nodes, more_distances = np.empty(room, np.int32), np.empty(room, np.float64)
    more_nodes[: len(nodes)] = nodes
    more_distances[: len(nodes)] = distances
    return more_nodes, more_distances


@kernel(inline=True)
def _is_stalled(first: Int32Array, ends: Int32Array, weight: Float64Array, distance: Float64Array, node: int) -> bool:
    """Return whether another label reaches a node at less cost. `first` and `ends` are edges against the search."""
    key = distance[node]
    for edge in range(first[node], first[node + 1]):  # noqa: SIM110 - a kernel has no generators
        if distance[ends[edge]] + weight[edge] < key:
            return True
    return False


@kernel
def _climb(hierarchy: Hierarchy, memory: Memory, touched_count: int, backward: bool) -> tuple[int, int, int]:
    """Run Dijkstra's search upward from the seeds through all contracted nodes above them.

    Lists the contracted nodes that were settled and not stalled in `memory.expanded`. Nodes that are not contracted get
    labels and are not expanded. Returns the numbers of labelled, listed and settled nodes.
    """
    if backward:
        first, head, weight = hierarchy.down_first, hierarchy.down_tail, hierarchy.down_weight
        stall_first, stall_head, stall_weight = hierarchy.up_first, hierarchy.up_head, hierarchy.up_weight
    else:
        first, head, weight = hierarchy.up_first, hierarchy.up_head, hierarchy.up_weight
        stall_first, stall_head, stall_weight = hierarchy.down_first, hierarchy.down_tail, hierarchy.down_weight
    rank, space = hierarchy.rank, memory.space
    distance = space.distance
    expanded_count = 0
    settled = 0
    while space.queue.size[0] > 0:
        node = queue_pop(space.queue)
        settled += 1
        if _is_stalled(stall_first, stall_head, stall_weight, distance, node):
            continue
        memory.expanded[expanded_count] = node
        expanded_count += 1
        key = distance[node]
        for edge in range(first[node], first[node + 1]):
            above = head[edge]
            reached = key + weight[edge]
            if reached < distance[above]:
                touched_count = set_label(space, touched_count, above, reached, node, edge)
                if rank[above] >= 0:
                    queue_put(space.queue, above, reached)
    return touched_count, expanded_count, settled


@kernel
def _seed_all(space: SearchSpace, rank: Int32Array, seeds: Labels, search: int) -> int:
    touched_count = 0
    for position in range(seeds.first[search], seeds.first[search + 1]):
        touched_count = seed(space, rank, touched_count, seeds.nodes[position], seeds.distances[position])
    return touched_count


@kernel
def label_targets(
    hierarchy: Hierarchy, memory: Memory, seeds: Labels, begin: int, end: int, through_core: bool, room: int
) -> tuple[Int64Array, Int32Array, Float64Array, int]:
    """Search upward, against the edges, from the seeds of each of the searches `begin` to `end` - 1.

    The labels of expanded nodes and of nodes that are not contracted are returned. With `through_core`, the hierarchy's
    edges between nodes that are not contracted belong to paths; such a node is then left out when another label
    reaches it at less cost, because no cheapest path leaves the core there. Returns the arrays of Labels and the
    number of settled nodes.
    """
    rank, space = hierarchy.rank, memory.space
    first = np.zeros(end - begin + 1, np.int64)
    nodes, distances = np.empty(room, np.int32), np.empty(room, np.float64)
    count = 0
    settled_all = 0
    for search in range(begin, end):
        touched_count = _seed_all(space, rank, seeds, search)
        touched_count, expanded_count, settled = _climb(hierarchy, memory, touched_count, True)
        settled_all += settled
        nodes, distances = with_room(nodes, distances, count + touched_count)
        for position in range(expanded_count):
            node = memory.expanded[position]
            nodes[count] = node
            distances[count] = space.distance[node]
            count += 1
        for position in range(touched_count):
            node = space.touched[position]
            if rank[node] < 0 and not (
                through_core
                and _is_stalled(hierarchy.up_first, hierarchy.up_head, hierarchy.up_weight, space.distance, node)
            ):
                nodes[count] = node
                distances[count] = space.distance[node]
                count += 1
        first[search - begin + 1] = count
        reset_search(space, touched_count)
    return first, nodes[:count].copy(), distances[:count].copy(), settled_all


@kernel
def sort_into_buckets(rank: Int32Array, labels: Labels) -> Buckets:
    """Sort the labels of all targets by node. The entries of a bucket are in ascending order of their targets."""
    node_count = len(rank)
    count = len(labels.nodes)
    first = np.zeros(node_count + 1, np.int64)
    for position in range(count):
        first[labels.nodes[position] + 1] += 1
    for node in range(node_count):
        first[node + 1] += first[node]
    place = first.copy()
    target = np.empty(count, np.int32)
    distance = np.empty(count, np.float64)
    least = np.inf
    for search in range(len(labels.first) - 1):
        for position in range(labels.first[search], labels.first[search + 1]):
            node = labels.nodes[position]
            target[place[node]] = search
            distance[place[node]] = labels.distances[position]
            place[node] += 1
            if rank[node] < 0:
                least = min(least, labels.distances[position])
    return Buckets(first, target, distance, least)


@kernel(inline=True)
def _read_bucket(buckets: Buckets, node: int, key: float, costs: Float64Array) -> None:
    """Lower the costs (float64[t]) of the targets that have labels at a node which the source reaches at `key`."""
    for position in range(buckets.first[node], buckets.first[node + 1]):
        cost = key + buckets.distance[position]
        costs[buckets.target[position]] = min(costs[buckets.target[position]], cost)


@kernel
def _cross_core(
    hierarchy: Hierarchy, space: SearchSpace, buckets: Buckets, touched_count: int, costs: Float64Array
) -> tuple[int, int]:
    """Run Dijkstra's search of the top core from its labelled nodes, and read the bucket of each settled node.

    It ends when no further node can lower a cost of the row. Returns the numbers of labelled and of settled nodes.
    """
    queue, distance = space.queue, space.distance
    first, head, weight = hierarchy.up_first, hierarchy.up_head, hierarchy.up_weight
    for position in range(touched_count):
        node = space.touched[position]
        if hierarchy.rank[node] < 0:
            queue_put(queue, node, distance[node])
    settled = 0
    dearest = np.inf
    while queue.size[0] > 0:
        if settled % SETTLED_PER_CHECK == 0:
            dearest = costs.max()
        if queue.key[0] + buckets.least >= dearest:
            break
        node = queue_pop(queue)
        settled += 1
        key = distance[node]
        _read_bucket(buckets, node, key, costs)
        for edge in range(first[node], first[node + 1]):
            above = head[edge]
            reached = key + weight[edge]
            if reached < distance[above]:
                touched_count = set_label(space, touched_count, above, reached, node, edge)
                queue_put(queue, above, reached)
    clear_queue(queue)
    return touched_count, settled


@kernel
def lower_rows(
    hierarchy: Hierarchy,
    memory: Memory,
    seeds: Labels,
    searches: Int32Array,
    buckets: Buckets,
    costs: Float64Array,
    through_core: bool,
) -> int:
    """Search upward from the seeds of each of `searches` (int32[r]), and lower the costs in its row of float64[r, t].

    With `through_core`, the search goes on along the edges between nodes that are not contracted. Returns the number
    of settled nodes.
    """
    rank, space = hierarchy.rank, memory.space
    settled_all = 0
    for row in range(len(searches)):
        touched_count = _seed_all(space, rank, seeds, searches[row])
        touched_count, expanded_count, settled = _climb(hierarchy, memory, touched_count, False)
        settled_all += settled
        for position in range(expanded_count):
            node = memory.expanded[position]
            _read_bucket(buckets, node, space.distance[node], costs[row])
        if through_core:
            touched_count, settled = _cross_core(hierarchy, space, buckets, touched_count, costs[row])
            settled_all += settled
        else:
            for position in range(touched_count):
                node = space.touched[position]
                if rank[node] < 0:
                    _read_bucket(buckets, node, space.distance[node], costs[row])
        reset_search(space, touched_count)
    return settled_all


def join_labels(several: list[Labels]) -> Labels:
    """Return the labels of all searches of `several`, in order."""
    counts = np.concatenate([np.diff(one.first) for one in several] or [np.empty(0, np.int64)])
    first = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=first[1:])
    nodes = np.concatenate([one.nodes for one in several] or [np.empty(0, np.int32)])
    distances = np.concatenate([one.distances for one in several] or [np.empty(0, np.float64)])
    return Labels(first, read_only(nodes, np.int32), read_only(distances, np.float64))


class OverlayMatrix:
    """Matrices of costs in overlays of any size. Searches reuse its memory, so each thread needs its own.

    The memory grows with the largest overlay searched so far, and is never released.
    """

    def __init__(self, room: int = ROOM) -> None:
        """Take the number of labels (at least 1) that results initially have room for."""
        self._room = room
        self._memory = make_memory(0)

    def climb(self, overlay: Overlay, seeds: Labels, begin: int, end: int) -> tuple[Labels, int]:
        """Return the labels of the searches backward from targets `begin` to `end` - 1, and the nodes settled.

        `seeds` are the overlay nodes from which each target is reached, with the distances from there.
        """
        first, nodes, distances, settled = label_targets(
            overlay.hierarchy, self._reserved(overlay), _read_only(seeds), begin, end, True, self._room
        )
        return Labels(first, nodes, distances), settled

    def lower(
        self, overlay: Overlay, seeds: Labels, searches: Int32Array, buckets: Buckets, costs: Float64Array
    ) -> int:
        """Lower each cost in `costs` (float64[r, t], writable) to that of the cheapest path over the overlay.

        Row i is that of source `searches[i]` (int32[r]). `seeds` are the overlay nodes that each source reaches, with
        their distances. Returns the number of settled nodes.
        """
        return lower_rows(
            overlay.hierarchy,
            self._reserved(overlay),
            _read_only(seeds),
            read_only(searches, np.int32),
            buckets,
            costs,
            True,
        )

    def _reserved(self, overlay: Overlay) -> Memory:
        if len(self._memory.expanded) < overlay.node_count:
            self._memory = make_memory(overlay.node_count)
        return self._memory


def overlay_buckets(overlay: Overlay, labels: Labels) -> Buckets:
    """Sort the labels that `OverlayMatrix.climb` returned for all targets by overlay node."""
    return sort_into_buckets(overlay.rank, _read_only(labels))


def _read_only(labels: Labels) -> Labels:
    return Labels(
        read_only(labels.first, np.int64), read_only(labels.nodes, np.int32), read_only(labels.distances, np.float64)
    )
