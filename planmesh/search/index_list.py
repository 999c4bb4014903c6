"""The indexes of many partitions in one list, so that one call of a kernel can search all of them.

A kernel call costs some 10 µs for the arrays of an index, as much as a short search. A list costs that once for each
index, when it is added.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba.typed import List

from planmesh.graph.model import Int32Array, Int64Array
from planmesh.kernels import kernel
from planmesh.search.hierarchy import Hierarchy
from planmesh.search.partition_index import OverlayShare, PartitionIndex

IndexOf = Callable[[int], PartitionIndex]
"""Returns the index of a partition."""


@kernel
def _list_of(hierarchy: Hierarchy, share: OverlayShare) -> Any:
    items = List()
    items.append((hierarchy, share))
    return items


@kernel
def _append(items: Any, hierarchy: Hierarchy, share: OverlayShare) -> None:
    items.append((hierarchy, share))


class IndexList:
    """Indexes by the numbers of their partitions. It keeps their arrays alive, and is for one thread."""

    def __init__(self, indexes_max: int) -> None:
        """Keep at most `indexes_max` indexes, or more if one call needs them; beyond that, begin a new list."""
        self._max = indexes_max
        self._clear()

    def _clear(self) -> None:
        self._places: dict[int, int] = {}
        self._node_counts: list[int] = []
        self._overlay_counts: list[int] = []
        self.items: Any = None
        """The list that kernels take; None before the first index is added."""

    def __len__(self) -> int:
        return len(self._places)

    def places(self, partitions: Int32Array, index_of: IndexOf) -> Int64Array:
        """Return the places of partitions' indexes in the list, both [k]; add those that it lacks.

        They are valid until the next call. Raises what `index_of` does.
        """
        distinct, which = np.unique(partitions, return_inverse=True)
        missing = sum(partition not in self._places for partition in distinct.tolist())
        if missing and len(self) + missing > self._max:
            self._clear()
        places = np.empty(len(distinct), np.int64)
        for position, partition in enumerate(distinct.tolist()):
            place = self._places.get(partition)
            places[position] = self._add(partition, index_of(partition)) if place is None else place
        return places[which.reshape(-1)]

    def node_counts(self, places: Int64Array) -> Int64Array:
        """Return the number of nodes of the indexes at these places, both [k]."""
        return np.array([self._node_counts[place] for place in places.tolist()], np.int64)

    def overlay_counts(self, places: Int64Array) -> Int64Array:
        """Return the number of overlay nodes of the indexes at these places, both [k]."""
        return np.array([self._overlay_counts[place] for place in places.tolist()], np.int64)

    def _add(self, partition: int, index: PartitionIndex) -> int:
        if self.items is None:
            self.items = _list_of(index.hierarchy, index.overlay_share)
        else:
            _append(self.items, index.hierarchy, index.overlay_share)
        place = self._places[partition] = len(self._node_counts)
        self._node_counts.append(index.node_count)
        self._overlay_counts.append(index.overlay_count)
        return place
