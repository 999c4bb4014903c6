"""One version of a graph as the coordinator holds it: directory and overlay, mapped; and results of its workers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.dispatch.queues import shard_of
from planmesh.errors import InternalError
from planmesh.graph.model import Float64Array, Int32Array
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.step_encoding import text_table
from planmesh.search.read_only import read_only
from planmesh.snapshot.directory import NodeDirectory
from planmesh.snapshot.overlay_file import OpenOverlay

RECENT_WEIGHT: Final = 0.1
"""Of the last overlay search in what is expected of the next."""

INTEGER_BYTES: Final = 40
"""Of an integer in a list: the object and the reference to it."""

SegmentKey = tuple[int, int, int, int]
"""Kind, partition, first and second, as in UnpackOperation."""

Segment = tuple[Int32Array, Float64Array]
"""Global numbers of the nodes of a segment, both ends included, and the costs of its edges."""


class Segments:
    """The segments of a worker's answer, cut from its arrays when they are asked for."""

    def __init__(self, result: task_pb2.UnpackResult, first_node: np.int32, count: int) -> None:
        """Take `count` segments in local numbers of a partition that begins at `first_node`; InternalError if not."""
        lengths = np.frombuffer(result.lengths, np.int32)
        self._nodes: Int32Array = np.frombuffer(result.nodes, np.int32) + first_node
        self._costs: Float64Array = np.frombuffer(result.costs, np.float64)
        self._ends = list(itertools.accumulate(lengths.tolist(), initial=0))
        if (len(lengths), len(self._nodes), len(self._costs)) != (count, self._ends[-1], self._ends[-1] - count):
            raise InternalError(
                f"expected {count} segments from a worker, got {len(lengths)}, or parts of some are missing"
            )

    def __iter__(self) -> Iterator[Segment]:
        return map(self.cut, range(len(self._ends) - 1))

    def cut(self, index: int) -> Segment:
        """One of them, a view of the arrays of all."""
        begin, end = self._ends[index], self._ends[index + 1]
        return self._nodes[begin:end], self._costs[begin - index : end - index - 1]

    @property
    def size_bytes(self) -> int:
        """Bytes of all of them."""
        return self._nodes.nbytes + self._costs.nbytes + INTEGER_BYTES * len(self._ends)


@dataclass(frozen=True, slots=True)
class LocalResult:
    """The outcome of a local search: overlay nodes (int32[k], numbers of the overlay), distances, segments."""

    nodes: Int32Array
    distances: Float64Array
    segments: Segments | None
    """Between the place and each overlay node; None where they were too long to be sent along."""

    @property
    def size_bytes(self) -> int:
        """Bytes of the arrays."""
        segments = 0 if self.segments is None else self.segments.size_bytes
        return self.nodes.nbytes + self.distances.nbytes + segments

    def segment(self, overlay_node: int) -> Segment | None:
        """The way between the place and one of the overlay nodes, if it was sent along."""
        if self.segments is None:
            return None
        return self.segments.cut(self.nodes.tolist().index(overlay_node))


class VersionedGraph:
    """Immutable but for the time of its searches. A plan holds on to the one it began with: it never mixes versions."""

    def __init__(
        self,
        name: str,
        version: int,
        snapshot_url: str,
        directory: NodeDirectory,
        overlay: OpenOverlay,
        shard_count: int,
        identity: str,
    ) -> None:
        self.name = name
        self.version = version
        self.snapshot_url = snapshot_url
        self.identity = identity
        """Of the snapshot: another mesh on the same Redis, or an earlier one in the same folder, may have the same
        names and versions."""
        self.directory = directory
        self.overlay = overlay
        self.partition_first = directory.partition_first
        ids = directory.ids.arrays()
        self.id_table = (read_only(ids["offsets"], np.int64), read_only(ids["blob"], np.uint8))
        offsets, blob = text_table(directory.partition_names)
        self.partition_name_table = (read_only(offsets, np.int64), read_only(blob, np.uint8))
        self._shard_count = shard_count
        self.overlay_search_s = 1.0
        """What an overlay search takes lately; a pessimist's guess at first."""

    def note_overlay_search(self, duration_s: float) -> None:
        """Take a search into account: at once when it was slow, by and by when it was quick."""
        if duration_s >= self.overlay_search_s:
            self.overlay_search_s = duration_s
        else:
            self.overlay_search_s += RECENT_WEIGHT * (duration_s - self.overlay_search_s)

    @property
    def node_count(self) -> int:
        """Nodes of the graph."""
        return self.directory.node_count

    def nodes_of(self, partition: int) -> int:
        """Nodes of a partition."""
        first = self.partition_first
        return int(first[partition + 1] - first[partition])

    def overlay_nodes_of(self, partition: int) -> int:
        """Overlay nodes of a partition."""
        first = self.overlay.overlay_first
        return int(first[partition + 1] - first[partition])

    def shard_of(self, partition: int) -> int:
        """Return the shard that serves a partition."""
        return shard_of(partition, self.directory.partition_count, self._shard_count)

    def partition_of_overlay(self, nodes: Int32Array) -> Int32Array:
        """Return the partitions (int32[k]) of overlay nodes (int32[k])."""
        return (np.searchsorted(self.overlay.overlay_first, nodes, "right") - 1).astype(np.int32)
