"""Computes the items of query tasks: local searches, meetings, unpacking and expansion on mapped partitions."""

from __future__ import annotations

import functools
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.errors import InternalError, SnapshotDamaged, SnapshotError, VersionGone
from planmesh.graph.model import Float64Array, Int32Array
from planmesh.internal.v1 import task_pb2
from planmesh.search.index_list import IndexList
from planmesh.search.local_matrix import LocalMatrix
from planmesh.search.local_search import LocalSearch
from planmesh.search.unpack import SegmentArrays
from planmesh.snapshot.partition_file import OpenPartition
from planmesh.snapshot.reader import SnapshotReader
from planmesh.telemetry.logs import get_logger
from workers.batch_operations import search_batch, unpack_batch

OPEN_VERSIONS_MAX: Final = 8
"""Snapshots kept open: the served and the previous version of a few graphs."""

log = get_logger(__name__)


class OpenSnapshots:
    """The snapshots that this process used last, by URL. For each URL it has the snapshot found there last."""

    def __init__(self, open_partitions_max: int) -> None:
        self._open_partitions_max = open_partitions_max
        self._readers: OrderedDict[str, SnapshotReader] = OrderedDict()
        self._indexes: WeakKeyDictionary[SnapshotReader, IndexList] = WeakKeyDictionary()

    def reader(self, url: str, identity: str) -> SnapshotReader:
        """Return the snapshot at `url`, which must have the given identity.

        Raises VersionGone when there is no snapshot or another one; SnapshotDamaged; SnapshotError; InternalError when
        `identity` is empty.
        """
        if not identity:
            raise InternalError(
                "expected the identity of a snapshot, got none: the coordinator is older than this worker"
            )
        reader = self._readers.get(url)
        if reader is not None and reader.identity != identity and reader.may_be_replaced():
            log.info("snapshot replaced", url=url, previous=reader.identity, requested=identity)
            self.forget(url)
            reader = None
        if reader is None:
            reader = SnapshotReader.open(url, open_partitions_max=self._open_partitions_max)
            self._readers[url] = reader
            while len(self._readers) > OPEN_VERSIONS_MAX:
                self._readers.popitem(last=False)
        self._readers.move_to_end(url)
        if reader.identity != identity:
            raise VersionGone(
                f"expected snapshot {identity} at {url}, found {reader.identity}: that version was replaced or repaired"
            )
        return reader

    def indexes(self, reader: SnapshotReader) -> IndexList:
        """Return the list of a snapshot's indexes for kernels; it lives as long as the reader."""
        indexes = self._indexes.get(reader)
        if indexes is None:
            indexes = self._indexes[reader] = IndexList(reader.mapped_max)
        return indexes

    def forget(self, url: str) -> None:
        """Close a snapshot, so that the next query opens its files again. They may have been rebuilt."""
        self._readers.pop(url, None)


_SEARCH_INTERRUPTED: Final = frozenset({task_pb2.ITEM_ERROR_KIND_INTERNAL, task_pb2.ITEM_ERROR_KIND_OUT_OF_MEMORY})
"""Kinds of errors that may have interrupted a search."""


class QueryItems:
    """Computes query items one after another. Each process has one instance."""

    def __init__(self, snapshots: OpenSnapshots, clock: BrokerClock) -> None:
        self._snapshots = snapshots
        self._clock = clock
        self._search: LocalSearch | None = None
        self._matrix: LocalMatrix | None = None

    def answer(self, item: task_pb2.QueryItem) -> task_pb2.ItemReply:
        """Run all operations of an item, and return the results or an error. It never raises, for the other items."""
        started_s = time.perf_counter()
        reply = task_pb2.ItemReply(key=item.key)
        try:
            if self._clock.unix_s() >= item.deadline_unix_s:
                reply.error.kind = task_pb2.ITEM_ERROR_KIND_EXPIRED
                reply.error.message = "the deadline had passed before a worker took the task"
            else:
                reader = self._snapshots.reader(item.snapshot_url, item.snapshot_identity)
                reply.results.extend([self._operation(reader, operation) for operation in item.operations])
        except VersionGone as error:
            reply.error.CopyFrom(_gone(error))
        except SnapshotDamaged as error:
            reply.error.CopyFrom(self._damage(item, error))
        except MemoryError:
            # Log no traceback: it would keep large arrays alive.
            reply.error.kind = task_pb2.ITEM_ERROR_KIND_OUT_OF_MEMORY
            reply.error.message = f"the worker ran out of memory ({_kinds(item)}); give workers more"
        except Exception as error:
            reply.error.kind = task_pb2.ITEM_ERROR_KIND_INTERNAL
            reply.error.message = f"{type(error).__name__}: {error}"
            log.exception("query item failed", graph=item.graph, version=item.version, operations=_kinds(item))
        if reply.HasField("error"):
            del reply.results[:]
            if reply.error.kind in _SEARCH_INTERRUPTED:
                # An interrupted search leaves labels, or half of its memory, behind.
                self._search = None
                self._matrix = None
        if reply.error.kind == task_pb2.ITEM_ERROR_KIND_OUT_OF_MEMORY:
            log.error("query item ran out of memory", graph=item.graph, version=item.version, operations=_kinds(item))
        reply.duration_ms = (time.perf_counter() - started_s) * 1e3
        return reply

    def _damage(self, item: task_pb2.QueryItem, error: SnapshotDamaged) -> task_pb2.ItemError:
        """Return the error for a damaged file: VERSION_GONE if another snapshot has replaced it, otherwise DAMAGED."""
        self._snapshots.forget(item.snapshot_url)
        try:
            self._snapshots.reader(item.snapshot_url, item.snapshot_identity)
        except VersionGone as gone:
            return _gone(gone)
        except (SnapshotError, OSError, MemoryError) as still:
            # No error may leave this function: it runs in an error handler, and would fail the other items too.
            log.error("snapshot not opened", graph=item.graph, version=item.version, error=repr(still))
        log.error("damaged snapshot", graph=item.graph, version=item.version, file=error.file, error=error.message)
        return task_pb2.ItemError(kind=task_pb2.ITEM_ERROR_KIND_DAMAGED, message=error.message, file=error.file)

    def _operation(self, reader: SnapshotReader, operation: task_pb2.Operation) -> task_pb2.OperationResult:
        kind = operation.WhichOneof("operation")
        in_one_partition: dict[str, Callable[[OpenPartition, Any], task_pb2.OperationResult]] = {
            "search": self._local_search,
            "meet": self._meet,
            "unpack": self._unpack,
            "expand": _expand,
            "search_many": self._search_many,
            "meet_many": self._meet_many,
        }
        if kind in in_one_partition:
            asked = getattr(operation, kind)
            return in_one_partition[kind](_partition(reader, asked.partition), asked)
        partition_of = functools.partial(_partition, reader)
        if kind == "search_batch":
            indexes = self._snapshots.indexes(reader)
            found = search_batch(partition_of, indexes, self._ready_search(), operation.search_batch)
            return task_pb2.OperationResult(search_batch=found)
        if kind == "unpack_batch":
            indexes = self._snapshots.indexes(reader)
            segments = unpack_batch(partition_of, indexes, self._ready_search(), operation.unpack_batch)
            return task_pb2.OperationResult(unpack_batch=segments)
        raise InternalError(
            f"expected an operation of a known kind, got {kind!r}: the coordinator is newer than this worker"
        )

    def _ready_search(self) -> LocalSearch:
        if self._search is None:
            self._search = LocalSearch()
        return self._search

    def _ready_matrix(self) -> LocalMatrix:
        if self._matrix is None:
            self._matrix = LocalMatrix()
        return self._matrix

    def _search_many(
        self, partition: OpenPartition, operation: task_pb2.SearchManyOperation
    ) -> task_pb2.OperationResult:
        nodes = np.frombuffer(operation.nodes, np.int32)
        _check_locals(partition, nodes)
        found, settled = self._ready_matrix().search(partition.index, nodes, operation.backward)
        return task_pb2.OperationResult(
            search_many=task_pb2.SearchManyResult(
                counts=np.diff(found.first).astype(np.int32).tobytes(),
                overlay_nodes=found.nodes.tobytes(),
                distances=found.distances.tobytes(),
                settled_nodes=settled,
            )
        )

    def _meet_many(self, partition: OpenPartition, operation: task_pb2.MeetManyOperation) -> task_pb2.OperationResult:
        starts, goals = np.frombuffer(operation.starts, np.int32), np.frombuffer(operation.goals, np.int32)
        _check_locals(partition, starts)
        _check_locals(partition, goals)
        costs, settled = self._ready_matrix().meet(partition.index, starts, goals)
        return task_pb2.OperationResult(meet_many=task_pb2.MeetManyResult(costs=costs.tobytes(), settled_nodes=settled))

    def _local_search(self, partition: OpenPartition, operation: task_pb2.SearchOperation) -> task_pb2.OperationResult:
        _check_local(partition, operation.node)
        found = self._ready_search().search(
            partition.index, operation.node, operation.backward, with_segments=not operation.without_segments
        )
        return task_pb2.OperationResult(
            search=task_pb2.SearchResult(
                overlay_nodes=found.nodes.tobytes(),
                distances=found.distances.tobytes(),
                settled_nodes=found.settled,
                segments=None if found.segments is None else _segments(found.segments),
            )
        )

    def _meet(self, partition: OpenPartition, operation: task_pb2.MeetOperation) -> task_pb2.OperationResult:
        _check_local(partition, operation.start)
        _check_local(partition, operation.goal)
        cost, settled = self._ready_search().meet(partition.index, operation.start, operation.goal)
        return task_pb2.OperationResult(meet=task_pb2.MeetResult(cost=cost, settled_nodes=settled))

    def _unpack(self, partition: OpenPartition, operation: task_pb2.UnpackOperation) -> task_pb2.OperationResult:
        kinds = np.frombuffer(operation.kinds, np.uint8)
        first = np.frombuffer(operation.first, np.int32)
        second = np.frombuffer(operation.second, np.int32)
        if not len(kinds) == len(first) == len(second):
            raise InternalError(f"expected segments of one length, got {len(kinds)}, {len(first)} and {len(second)}")
        return task_pb2.OperationResult(
            unpack=_segments(self._ready_search().unpack(partition.index, kinds, first, second))
        )


def _gone(error: VersionGone) -> task_pb2.ItemError:
    return task_pb2.ItemError(kind=task_pb2.ITEM_ERROR_KIND_VERSION_GONE, message=error.message)


def _kinds(item: task_pb2.QueryItem) -> str:
    return ", ".join(sorted({operation.WhichOneof("operation") or "unknown" for operation in item.operations}))


def _segments(segments: SegmentArrays) -> task_pb2.UnpackResult:
    return task_pb2.UnpackResult(
        nodes=segments.nodes.tobytes(), costs=segments.costs.tobytes(), lengths=segments.lengths.tobytes()
    )


def _partition(reader: SnapshotReader, number: int) -> OpenPartition:
    count = len(reader.manifest.partitions)
    if not 0 <= number < count:
        raise InternalError(f"expected a partition below {count}, got {number}")
    return reader.partition(number)


def _check_local(partition: OpenPartition, node: int) -> None:
    if not 0 <= node < partition.node_count:
        raise InternalError(f"expected a local node below {partition.node_count}, got {node}")


def _check_locals(partition: OpenPartition, nodes: Int32Array) -> None:
    if len(nodes) and not (int(nodes.min()) >= 0 and int(nodes.max()) < partition.node_count):
        raise InternalError(f"expected local nodes below {partition.node_count}, got {nodes.min()} to {nodes.max()}")


def _expand(partition: OpenPartition, operation: task_pb2.ExpandOperation) -> task_pb2.OperationResult:
    nodes = np.frombuffer(operation.nodes, np.int32)
    _check_locals(partition, nodes)
    sides: list[tuple[Int32Array, Int32Array, Float64Array]] = []
    if operation.outgoing:
        sides.append((partition.out_first, partition.out_head, partition.out_cost))
    if operation.incoming:
        sides.append((partition.in_first, partition.in_tail, partition.in_cost))
    counts = sum((first[nodes + 1] - first[nodes] for first, _, _ in sides), np.zeros(len(nodes), np.int32))
    first_edge = np.zeros(len(nodes) + 1, np.int32)
    np.cumsum(counts, out=first_edge[1:])
    ends = np.empty(int(first_edge[-1]), np.int32)
    costs = np.empty(int(first_edge[-1]), np.float64)
    cursor = first_edge[:-1].copy()
    for first, end, cost in sides:
        lengths = first[nodes + 1] - first[nodes]
        # Positions start..start+length of every node, without a loop over nodes.
        within = np.arange(int(lengths.sum()), dtype=np.int64) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        source = np.repeat(first[nodes], lengths) + within
        target = np.repeat(cursor, lengths) + within
        ends[target] = end[source]
        costs[target] = cost[source]
        cursor += lengths
    return task_pb2.OperationResult(
        expand=task_pb2.ExpandResult(first_edge=first_edge.tobytes(), ends=ends.tobytes(), costs=costs.tobytes())
    )
