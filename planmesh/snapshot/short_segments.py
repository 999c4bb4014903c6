"""Short segments along the partitions' shortcuts, stored beside the overlay, so that plans need no worker for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from planmesh.graph.model import Float64Array, Int32Array, Int64Array
from planmesh.search.local_search import LocalSearch
from planmesh.snapshot.partition_file import OpenPartition

SEGMENT_EDGES_MAX: Final = 16
"""Most edges of a stored segment. Workers expand longer ones."""

EDGES_PER_NODE_MAX: Final = 8
"""Most edges of all stored segments of a partition for each of its nodes, at 12 bytes an edge. None is stored for a
partition with more: a badly cut partition has shortcuts between most pairs of its overlay nodes."""


@dataclass(frozen=True, slots=True)
class ShortSegments:
    """The segments along m level-1 edges of an overlay.

    The segment of edge e has, after the edge's tail, the nodes `node[first[e]:first[e + 1]]` (int32, global numbers),
    of which the last is the edge's head. `cost` (float64) has the costs of the edges to these nodes at the same
    positions. No segment is stored for edges of the graph and for shortcuts of more than SEGMENT_EDGES_MAX edges.
    `first` is int64[m + 1].
    """

    first: Int64Array
    node: Int32Array
    cost: Float64Array

    def segment(self, edge: int, tail: np.int32) -> tuple[Int32Array, Float64Array] | None:
        """Return nodes int32[k + 1] and costs float64[k] of the segment along an edge; None if it is not stored.

        `tail` is the global number of the edge's tail, with which the nodes start.
        """
        begin, end = int(self.first[edge]), int(self.first[edge + 1])
        if begin == end:
            return None
        nodes = np.empty(end - begin + 1, np.int32)
        nodes[0] = tail
        nodes[1:] = self.node[begin:end]
        return nodes, self.cost[begin:end]

    @classmethod
    def none(cls, edge_count: int) -> ShortSegments:
        """Return an instance without a segment for any edge, as for files of versions that stored none."""
        return cls(np.zeros(edge_count + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float64))


class ShortSegmentsBuilder:
    """Collects the segments of all partitions, in the order of their numbers."""

    def __init__(self) -> None:
        self._search = LocalSearch()
        self._lengths: list[Int32Array] = []
        self._nodes: list[Int32Array] = []
        self._costs: list[Float64Array] = []

    def add(self, partition: OpenPartition, order: npt.NDArray[np.int64]) -> None:
        """Add the segments of the next partition.

        `order` int64[m] lists the partition's edges in the order of level 1, as positions among its remaining edges
        followed by the cross edges that leave it.
        """
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
