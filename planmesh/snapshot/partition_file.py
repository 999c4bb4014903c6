"""A partition's file: its index, and the edges of its nodes in both directions, including cross edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.errors import SnapshotDamaged
from planmesh.graph.model import BoolArray, Float64Array, Int32Array, Int64Array
from planmesh.search.partition_index import PartitionIndex
from planmesh.snapshot.array_file import Array, ArrayFile

INDEX_PREFIX: Final = "index."


@dataclass(frozen=True, slots=True)
class PartitionEdges:
    """The edges of a partition's n nodes: n + 1 firsts (int32), other ends as global numbers (int32), costs (float64).

    `out_*` leave the partition's nodes and `in_*` arrive at them. A cross edge is in the files of both its partitions.
    `partition_first` is the global number of the partition's first node.
    """

    partition_first: int
    out_first: Int32Array
    out_head: Int32Array
    out_cost: Float64Array
    in_first: Int32Array
    in_tail: Int32Array
    in_cost: Float64Array

    @property
    def node_count(self) -> int:
        """The number of nodes in the partition."""
        return len(self.out_first) - 1

    def internal(self) -> tuple[Int32Array, Int32Array, Float64Array]:
        """Return the internal edges: first_out int32[n + 1], head int32[m] (local numbers) and weight float64[m]."""
        head = self.out_head
        inside = self._inside(head)
        before = np.zeros(len(head) + 1, np.int32)
        np.cumsum(inside, out=before[1:])
        local = head[inside] - np.int32(self.partition_first)
        return before[self.out_first], local, self.out_cost[inside]

    def is_exit(self) -> BoolArray:
        """Return which nodes a cross edge leaves, bool[n]."""
        return self._touched(self.out_first, ~self._inside(self.out_head))

    def is_entry(self) -> BoolArray:
        """Return at which nodes a cross edge arrives, bool[n]."""
        return self._touched(self.in_first, ~self._inside(self.in_tail))

    def is_boundary(self) -> BoolArray:
        """Return which nodes are ends of cross edges, bool[n]."""
        return self.is_exit() | self.is_entry()

    def _inside(self, ends: Int32Array) -> BoolArray:
        inside: BoolArray = (ends >= self.partition_first) & (ends < self.partition_first + self.node_count)
        return inside

    def _touched(self, first: Int32Array, marked: BoolArray) -> BoolArray:
        before = np.zeros(len(marked) + 1, np.int32)
        np.cumsum(marked, out=before[1:])
        touched: BoolArray = before[first[1:]] > before[first[:-1]]
        return touched

    def arrays(self) -> dict[str, Array]:
        """Return the arrays by the names in the file."""
        return {
            "partition_first": np.array([self.partition_first], np.int32),
            "out_first": self.out_first,
            "out_head": self.out_head,
            "out_cost": self.out_cost,
            "in_first": self.in_first,
            "in_tail": self.in_tail,
            "in_cost": self.in_cost,
        }


@dataclass(frozen=True, slots=True)
class OpenPartition(PartitionEdges):
    """A partition's edges and its index, as views of the mapped file."""

    index: PartitionIndex


def slice_edges(
    first: Int64Array, end: Int32Array, cost: Float64Array, start: int, stop: int
) -> tuple[Int32Array, Int32Array, Float64Array]:
    """Return the edges of nodes `start` to `stop` - 1 of an adjacency array, with firsts from 0.

    The ends and costs are views.
    """
    low, high = int(first[start]), int(first[stop])
    assert high - low < 2**31, "a partition has fewer than 2^31 edges"
    return (first[start : stop + 1] - low).astype(np.int32), end[low:high], cost[low:high]


def read_partition(file: ArrayFile) -> OpenPartition:
    """Return the partition in an array file, without copying arrays. Raises SnapshotDamaged when there is none."""
    try:
        return OpenPartition(
            partition_first=int(file.array("partition_first")[0]),
            out_first=file.array("out_first"),
            out_head=file.array("out_head"),
            out_cost=file.array("out_cost"),
            in_first=file.array("in_first"),
            in_tail=file.array("in_tail"),
            in_cost=file.array("in_cost"),
            index=PartitionIndex.from_arrays(file.prefixed(INDEX_PREFIX)),
        )
    except (KeyError, ValueError, IndexError) as error:
        raise SnapshotDamaged(file.path.name, f"does not hold a partition: {error}") from error


def partition_arrays(edges: PartitionEdges, index: PartitionIndex) -> dict[str, Array]:
    """Return the arrays of a partition's file: its edges and, with INDEX_PREFIX, its index."""
    return edges.arrays() | {f"{INDEX_PREFIX}{name}": array for name, array in index.arrays().items()}
