"""Short segments along the partitions' shortcuts, kept beside the overlay, so that a plan needs no worker for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from planmesh.graph.model import Float64Array, Int32Array, Int64Array
from planmesh.search.local_search import LocalSearch
from planmesh.snapshot.partition_file import OpenPartition

SEGMENT_EDGES_MAX: Final = 16
"""A longer way is left to the worker of its partition."""

EDGES_PER_NODE_MAX: Final = 8
"""Edges of the kept segments of a partition for each of its nodes, at 12 bytes each. A partition with more keeps none:
a badly cut one has shortcuts between most pairs of its overlay nodes."""


@dataclass(frozen=True, slots=True)
class ShortSegments:
    """The segments along m level-1 edges of an overlay.

    That of edge e are the nodes `node[first[e]:first[e + 1]]` (int32, global numbers) after its tail, its head
    included, and the costs of the edges that lead to them, at the same places of `cost` (float64). It is empty for
    edges of the graph, and for shortcuts of more than SEGMENT_EDGES_MAX edges. `first` is int64[m + 1].
    """

    first: Int64Array
    node: Int32Array
    cost: Float64Array

    def segment(self, edge: int, tail: np.int32) -> tuple[Int32Array, Float64Array] | None:
        """Nodes and costs of the way along an edge whose tail is global node `tail`; None if it is not kept."""
        begin, end = int(self.first[edge]), int(self.first[edge + 1])
        if begin == end:
            return None
        nodes = np.empty(end - begin + 1, np.int32)
        nodes[0] = tail
        nodes[1:] = self.node[begin:end]
        return nodes, self.cost[begin:end]

    @classmethod
    def none(cls, edge_count: int) -> ShortSegments:
        """No way of any edge, as in files of versions that kept none."""
        return cls(np.zeros(edge_count + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float64))


class ShortSegmentsBuilder:
    """Collects the segments partition by partition."""

    def __init__(self) -> None:
        self._search = LocalSearch()
        self._lengths: list[Int32Array] = []
        self._nodes: list[Int32Array] = []
        self._costs: list[Float64Array] = []

    def add(self, partition: OpenPartition, order: npt.NDArray[np.int64]) -> None:
        """Add the next partition. `order` int64[] says which of its remaining edges and then of the cross edges that
        leave it stands at each place of level 1.
        """  # noqa: D205
        nodes, costs, kept = self._search.short_segments(
            partition.index, SEGMENT_EDGES_MAX, EDGES_PER_NODE_MAX * partition.node_count
        )
        lengths = np.zeros(len(order), np.int32)
        lengths[: len(kept)] = kept
        begins = np.zeros(len(order), np.int64)
        begins[: len(kept)] = np.cumsum(kept, dtype=np.int64) - kept
        ordered = lengths[order]
        ends = np.cumsum(ordered, dtype=np.int64)
        places = np.repeat(begins[order] - (ends - ordered), ordered) + np.arange(len(nodes))
        self._lengths.append(ordered)
        self._nodes.append((nodes[places] + partition.partition_first).astype(np.int32))
        self._costs.append(costs[places])

    def finish(self) -> ShortSegments:
        """Return the segments of all partitions."""
        if not self._lengths:
            return ShortSegments.none(0)
        lengths = np.concatenate(self._lengths)
        first = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=first[1:])
        return ShortSegments(first, np.concatenate(self._nodes), np.concatenate(self._costs))
