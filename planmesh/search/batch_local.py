"""Searches and expansions in many partitions with one call of a kernel for each kind of work."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array, Int64Array, UInt8Array
from planmesh.kernels import kernel
from planmesh.search.hierarchy import PathSpace, SearchSpace
from planmesh.search.index_list import IndexList
from planmesh.search.local_search import NO_SEGMENTS, LocalSearch, meet, search_to_overlay
from planmesh.search.read_only import read_only
from planmesh.search.unpack import SegmentArrays, unpack


class ManyLabels(NamedTuple):
    """The labels of k searches, one after another, without segments.

    `counts` int32[k] is the number of each search's labels, `nodes` int32 their overlay numbers, `distances` float64.
    `settled` int32[k] counts the nodes that each search settled.
    """

    counts: Int32Array
    nodes: Int32Array
    distances: Float64Array
    settled: Int32Array


@kernel
def _search_many(
    items: Any,
    places: Int64Array,
    nodes: Int32Array,
    backward: UInt8Array,
    space: SearchSpace,
    idle: SearchSpace,
    paths: PathSpace,
    room: int,
) -> tuple[Int32Array, Int32Array, Float64Array, Int32Array]:
    counts = np.empty(len(places), np.int32)
    settled = np.empty(len(places), np.int32)
    found = np.empty(room, np.int32)
    distances = np.empty(room, np.float64)
    end = 0
    for position in range(len(places)):
        hierarchy, share = items[places[position]]
        labels, costs, settled_by_one, _, _, _ = search_to_overlay(
            hierarchy, share, space, idle, paths, nodes[position], backward[position] != 0, NO_SEGMENTS, 1
        )
        count = len(labels)
        if end + count > len(found):
            more = 2 * (end + count)
            found = np.append(found[:end], np.empty(more - end, np.int32))
            distances = np.append(distances[:end], np.empty(more - end, np.float64))
        found[end : end + count] = labels
        distances[end : end + count] = costs
        end += count
        counts[position] = count
        settled[position] = settled_by_one
    return counts, found[:end].copy(), distances[:end].copy(), settled


@kernel
def _meet_many(
    items: Any, places: Int64Array, starts: Int32Array, goals: Int32Array, forward: SearchSpace, backward: SearchSpace
) -> tuple[Float64Array, Int32Array]:
    costs = np.empty(len(places), np.float64)
    settled = np.empty(len(places), np.int32)
    for position in range(len(places)):
        hierarchy, _ = items[places[position]]
        costs[position], settled[position] = meet(hierarchy, forward, backward, starts[position], goals[position])
    return costs, settled


LABELS_ROOM = 4_096
"""Labels that the searches of a call initially have room for."""


class BatchLocalSearch:
    """Calls the kernels, in the memory of a LocalSearch."""

    def __init__(self, search: LocalSearch) -> None:
        self._search = search

    def search_many(
        self, indexes: IndexList, places: Int64Array, nodes: Int32Array, backward: UInt8Array, room: int = LABELS_ROOM
    ) -> ManyLabels:
        """Search from local nodes int32[k] to the overlay, or backward (uint8[k]), without segments.

        `places` int64[k] are those of the partitions in `indexes`. Raises ValueError for a number that is not a node's.
        """
        if not len(places):
            empty = np.empty(0, np.int32)
            return ManyLabels(empty, empty, np.empty(0), empty)
        self._check(indexes, places, nodes)
        forward, _, idle, paths = self._search.memory
        return ManyLabels(
            *_search_many(
                indexes.items,
                places,
                read_only(nodes, np.int32),
                read_only(backward, np.uint8),
                forward,
                idle,
                paths,
                room,
            )
        )

    def meet_many(
        self, indexes: IndexList, places: Int64Array, starts: Int32Array, goals: Int32Array
    ) -> tuple[Float64Array, Int32Array]:
        """Return the costs and the settled nodes of meetings, float64[k] and int32[k]; see LocalSearch.meet."""
        if not len(places):
            return np.empty(0), np.empty(0, np.int32)
        self._check(indexes, places, starts)
        self._check(indexes, places, goals)
        forward, backward, _, _ = self._search.memory
        costs, settled = _meet_many(
            indexes.items, places, read_only(starts, np.int32), read_only(goals, np.int32), forward, backward
        )
        return costs, settled

    def unpack_many(
        self, indexes: IndexList, places: Int64Array, kinds: UInt8Array, first: Int32Array, second: Int32Array
    ) -> SegmentArrays:
        """Expand segments as LocalSearch.unpack does, each in the partition at its place (int64[k]).

        Raises ValueError for a segment without a path, an unknown kind, or an end out of range.
        """
        self._search.reserve(int(indexes.node_counts(places).max(initial=0)))
        forward, backward, idle, paths = self._search.memory
        return unpack(indexes, places, kinds, first, second, (forward, backward, idle), paths, self._search.path_room)

    def _check(self, indexes: IndexList, places: Int64Array, nodes: Int32Array) -> None:
        counts = indexes.node_counts(places)
        if len(nodes) != len(places) or not ((nodes >= 0) & (nodes < counts)).all():
            raise ValueError(f"expected local nodes of {len(places)} partitions, got others: {nodes[:8]}")
        self._search.reserve(int(counts.max()))
