"""One version of a graph in the coordinator: its mapped files, and the results of its workers."""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from planmesh.dispatch.queues import shard_of
from planmesh.errors import InternalError
from planmesh.graph.model import Float64Array, Int32Array
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.plan_encoding import TextTables
from planmesh.rpc.step_encoding import text_table
from planmesh.search.batch_segments import OverlayMap
from planmesh.search.index_list import IndexList
from planmesh.search.partition_index import PartitionIndex
from planmesh.search.read_only import read_only
from planmesh.snapshot.directory import NodeDirectory
from planmesh.snapshot.overlay_file import OpenOverlay
from planmesh.snapshot.partition_file import OpenPartition
from planmesh.snapshot.reader import SnapshotReader

if TYPE_CHECKING:
    from services.coordinator.graph_changes import ChangesView

RECENT_WEIGHT: Final = 0.1
"""Weight of the last duration in the moving average of durations."""

INLINE_S_MAX: Final = 0.001
"""Work that recently took less runs on the event loop: starting it in a thread would take as long."""

INTEGER_BYTES: Final = 40
"""Bytes of an integer in a list: the object and the reference to it."""

SegmentKey = tuple[int, int, int, int]
"""Kind, partition, first and second node, as in UnpackOperation."""

Segment = tuple[Int32Array, Float64Array]
"""Global numbers of the nodes of a segment (int32[k]), both ends included, and the costs of its edges
(float64[k - 1])."""


class Segments:
    """The segments in a worker's result. Each is a slice of the result's arrays."""

    def __init__(self, result: task_pb2.UnpackResult, first_node: np.int32, count: int) -> None:
        """Read `count` segments in local numbers of the partition whose first node is `first_node`.

        Raises InternalError when the lengths of the result's arrays do not match.
        """
        lengths = np.frombuffer(result.lengths, np.int32)
        self._nodes: Int32Array = np.frombuffer(result.nodes, np.int32) + first_node
        self._costs: Float64Array = np.frombuffer(result.costs, np.float64)
        self._ends = list(itertools.accumulate(lengths.tolist(), initial=0))
        if (len(lengths), len(self._nodes), len(self._costs)) != (count, self._ends[-1], self._ends[-1] - count):
            raise InternalError(f"expected {count} segments from a worker, got {len(lengths)}, or incomplete ones")

    def __iter__(self) -> Iterator[Segment]:
        return map(self.cut, range(len(self._ends) - 1))

    def cut(self, index: int) -> Segment:
        """Return segment number `index` (from 0) as views of the arrays of all segments."""
        begin, end = self._ends[index], self._ends[index + 1]
        return self._nodes[begin:end], self._costs[begin - index : end - index - 1]

    @property
    def size_bytes(self) -> int:
        """Bytes of the arrays of all segments and of their bounds."""
        return self._nodes.nbytes + self._costs.nbytes + INTEGER_BYTES * len(self._ends)


@dataclass(frozen=True, slots=True)
class LocalResult:
    """Overlay nodes that a local search reached (int32[k], numbers of the overlay), with float64[k] distances."""

    nodes: Int32Array
    distances: Float64Array
    segments: Segments | None
    """The k segments between the place and the overlay nodes; None if they were too long to be sent with the reply."""

    @property
    def size_bytes(self) -> int:
        """Bytes of the arrays and of the segments."""
        segments = 0 if self.segments is None else self.segments.size_bytes
        return self.nodes.nbytes + self.distances.nbytes + segments

    def segment(self, overlay_node: int) -> Segment | None:
        """Return the segment between the place and one of the overlay nodes; None if it was not sent."""
        if self.segments is None:
            return None
        return self.segments.cut(self.nodes.tolist().index(overlay_node))


class RecentDurations:
    """How long one kind of work took recently, to decide whether it may run on the event loop."""

    def __init__(self) -> None:
        # Keeps the first ones off the event loop.
        self.mean_s = 1.0

    def note(self, duration_s: float) -> None:
        """Update the moving average: a longer duration replaces it at once, a shorter one lowers it gradually."""
        if duration_s >= self.mean_s:
            self.mean_s = duration_s
        else:
            self.mean_s += RECENT_WEIGHT * (duration_s - self.mean_s)

    def are_short(self, count: int) -> bool:
        """Whether `count` pieces of such work would take less than INLINE_S_MAX together."""
        return count * self.mean_s < INLINE_S_MAX


class MappedPartitions:
    """The partition files of a version, each mapped and checked when it is first needed."""

    def __init__(self, reader: SnapshotReader) -> None:
        self._reader = reader
        self._lists = threading.local()
        self.failed = False
        """Whether a file could not be read."""

    def are_open(self, partitions: Iterable[int]) -> bool:
        """Return whether all these partitions are mapped, so that `index` need not read a file."""
        return self._reader.has_mapped(partitions)

    def partition(self, partition: int) -> OpenPartition:
        """Return a partition's edges and index. Raises what SnapshotReader does."""
        return self._reader.partition(partition)

    def index(self, partition: int) -> PartitionIndex:
        """Return the index of a partition. Raises what SnapshotReader does."""
        return self._reader.partition(partition).index

    def indexes(self) -> IndexList:
        """Return this thread's list of the indexes that it has used, for kernels."""
        found = getattr(self._lists, "indexes", None)
        if found is None:
            found = self._lists.indexes = IndexList(self._reader.mapped_max)
        assert isinstance(found, IndexList)
        return found


class VersionedGraph:
    """One version of a graph. A plan uses the same object to its end, so it never mixes versions.

    It is immutable except for the recent durations of its searches. Its base is a snapshot; `at` returns later
    versions, which share the base and have the changes since then.
    """

    def __init__(
        self,
        name: str,
        version: int,
        snapshot_url: str,
        directory: NodeDirectory,
        overlay: OpenOverlay,
        shard_count: int,
        identity: str,
        mapped: MappedPartitions | None = None,
        *,
        expands: bool = True,
    ) -> None:
        self.name = name
        self.version = version
        self.base_version = version
        """The version of the snapshot."""
        self.base = self
        """The version of the snapshot, which later versions share."""
        self.changes: ChangesView | None = None
        """What has changed since the base; None if nothing has."""
        self.snapshot_url = snapshot_url
        self.identity = identity
        """Identity of the snapshot. Name and version would not be unique: another mesh on the same Redis, or an earlier
        one in the same folder, may have the same."""
        self.mapped = mapped
        """The partitions' files; None if this process does not read them."""
        self._expands = expands
        self.directory = directory
        self.overlay = overlay
        self.partition_first = directory.partition_first
        ids = directory.ids.arrays()
        self.id_table = (read_only(ids["offsets"], np.int64), read_only(ids["blob"], np.uint8))
        offsets, blob = text_table(directory.partition_names)
        self.partition_name_table = (read_only(offsets, np.int64), read_only(blob, np.uint8))
        self._shard_count = shard_count
        partition_count = len(directory.partition_names)
        self.shards: Int32Array = np.fromiter(
            (shard_of(partition, partition_count, shard_count) for partition in range(partition_count)), np.int32
        )
        """The shard of each partition, int32[P]."""
        self.overlay_map = OverlayMap(
            *(
                read_only(array, array.dtype.type)
                for array in (
                    overlay.overlay.first_out,
                    overlay.overlay.head,
                    overlay.overlay.weight,
                    overlay.overlay_global,
                    overlay.overlay_first,
                    overlay.is_original,
                    overlay.segments.first,
                    overlay.segments.node,
                    overlay.segments.cost,
                )
            )
        )
        self.texts = TextTables(*self.id_table, *self.partition_name_table)
        self.overlay_searches = RecentDurations()
        """Processor time of an overlay search."""
        self.expansions = RecentDurations()
        """Processor time of the expansion of a segment here."""

    @property
    def expands_here(self) -> bool:
        """Whether this process expands segments, so that searches need not return any."""
        return self._expands and self.mapped is not None and not self.mapped.failed

    @property
    def state_identity(self) -> str:
        """Identity of the version: of the snapshot, and of the changes since then. Answers are kept under it."""
        return self.identity if self.changes is None else f"{self.identity}@{self.version}"

    def at(self, version: int, changes: ChangesView | None) -> VersionedGraph:
        """Return a later version with the same base."""
        later = copy.copy(self)
        later.version, later.changes = version, changes
        return later

    def earlier(self, version: int) -> VersionedGraph:
        """Return a version from that of the base to this one."""
        if self.changes is None or version == self.version:
            return self
        return self.at(version, self.changes.changes.view_at(version))

    @property
    def node_count(self) -> int:
        """Number of nodes of the graph."""
        return self.directory.node_count

    def nodes_of(self, partition: int) -> int:
        """Return the number of nodes of a partition."""
        first = self.partition_first
        return int(first[partition + 1] - first[partition])

    def overlay_nodes_of(self, partition: int) -> int:
        """Return the number of overlay nodes of a partition."""
        first = self.overlay.overlay_first
        return int(first[partition + 1] - first[partition])

    def nodes_of_many(self, partitions: Int32Array) -> Int32Array:
        """Return the number of nodes of partitions, both int32[k]."""
        return self.partition_first[partitions + 1] - self.partition_first[partitions]

    def overlay_nodes_of_many(self, partitions: Int32Array) -> Int32Array:
        """Return the number of overlay nodes of partitions, both int32[k]."""
        first = self.overlay.overlay_first
        return first[partitions + 1] - first[partitions]

    def shard_of(self, partition: int) -> int:
        """Return the shard that serves a partition."""
        return shard_of(partition, self.directory.partition_count, self._shard_count)

    def partition_of_overlay(self, nodes: Int32Array) -> Int32Array:
        """Return the partitions (int32[k]) of overlay nodes (int32[k])."""
        return (np.searchsorted(self.overlay.overlay_first, nodes, "right") - 1).astype(np.int32)
