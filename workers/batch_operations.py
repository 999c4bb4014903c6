"""Operations for batches of plans: many local searches, meetings and expansions, with their results as flat arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from planmesh.errors import InternalError
from planmesh.graph.model import Float64Array, Int32Array, UInt8Array
from planmesh.internal.v1 import task_pb2
from planmesh.search.batch_local import BatchLocalSearch, ManyLabels
from planmesh.search.index_list import IndexList, IndexOf
from planmesh.search.local_search import LocalSearch
from planmesh.search.unpack import SegmentArrays
from planmesh.snapshot.partition_file import OpenPartition

PartitionOf = Callable[[int], OpenPartition]
"""Returns an open partition. Raises InternalError for a number that is not a partition's, and SnapshotDamaged."""


def search_batch(
    partition_of: PartitionOf, indexes: IndexList, search: LocalSearch, operation: task_pb2.SearchBatchOperation
) -> task_pb2.SearchBatchResult:
    """Run the searches and the meetings of an operation, each kind with one call of a kernel.

    `indexes` are those of the snapshot that were opened. With segments, which only coordinators without mapped files
    ask for, each search is a call. Raises InternalError when the arrays have different lengths, and ValueError for a
    node that its partition lacks.
    """
    partitions, nodes = _numbers(operation.partitions), _numbers(operation.nodes)
    backward = np.frombuffer(operation.backward, np.uint8)
    meet_partitions, starts, goals = map(
        _numbers, (operation.meet_partitions, operation.meet_starts, operation.meet_goals)
    )
    _check_lengths(partitions, nodes, backward)
    _check_lengths(meet_partitions, starts, goals)
    index_of = _index_of(partition_of)
    together = BatchLocalSearch(search)
    segments = None
    if operation.without_segments:
        found = together.search_many(indexes, indexes.places(partitions, index_of), nodes, backward)
    else:
        found, segments = _search_with_segments(index_of, search, partitions, nodes, backward)
    costs, settled = together.meet_many(indexes, indexes.places(meet_partitions, index_of), starts, goals)
    return task_pb2.SearchBatchResult(
        counts=found.counts.tobytes(),
        overlay_nodes=found.nodes.tobytes(),
        distances=found.distances.tobytes(),
        settled_nodes=np.concatenate([found.settled, settled]).tobytes(),
        segments=segments,
        meet_costs=costs.tobytes(),
    )


def unpack_batch(
    partition_of: PartitionOf, indexes: IndexList, search: LocalSearch, operation: task_pb2.UnpackBatchOperation
) -> task_pb2.UnpackResult:
    """Expand the segments of an operation, with one call of a kernel.

    Raises InternalError when its arrays have different lengths or the partitions do not ascend; ValueError as
    `LocalSearch.unpack` does.
    """
    partitions, first, second = map(_numbers, (operation.partitions, operation.first, operation.second))
    kinds = np.frombuffer(operation.kinds, np.uint8)
    _check_lengths(partitions, kinds, first, second)
    if (np.diff(partitions) < 0).any():
        raise InternalError("expected segments in ascending order of their partitions, got others")
    places = indexes.places(partitions, _index_of(partition_of))
    segments = BatchLocalSearch(search).unpack_many(indexes, places, kinds, first, second)
    return _segments([segments], [segments.lengths])


def _index_of(partition_of: PartitionOf) -> IndexOf:
    return lambda partition: partition_of(partition).index


def _search_with_segments(
    index_of: IndexOf, search: LocalSearch, partitions: Int32Array, nodes: Int32Array, backward: UInt8Array
) -> tuple[ManyLabels, task_pb2.UnpackResult]:
    found = [
        search.search(index_of(partition), node, bool(back))
        for partition, node, back in zip(partitions.tolist(), nodes.tolist(), backward.tolist(), strict=True)
    ]
    lengths = [
        np.zeros(len(labels.nodes), np.int32) if labels.segments is None else labels.segments.lengths
        for labels in found
    ]
    labels = ManyLabels(
        np.array([len(labels.nodes) for labels in found], np.int32),
        np.concatenate([np.empty(0, np.int32), *(labels.nodes for labels in found)]),
        np.concatenate([np.empty(0), *(labels.distances for labels in found)]),
        np.array([labels.settled for labels in found], np.int32),
    )
    return labels, _segments([labels.segments for labels in found if labels.segments is not None], lengths)


def _segments(segments: list[SegmentArrays], lengths: list[Int32Array]) -> task_pb2.UnpackResult:
    return task_pb2.UnpackResult(
        nodes=_joined([some.nodes for some in segments], np.int32),
        costs=_joined([some.costs for some in segments], np.float64),
        lengths=_joined(lengths, np.int32),
    )


def _numbers(raw: bytes) -> Int32Array:
    return np.frombuffer(raw, np.int32)


def _joined(arrays: list[Int32Array] | list[Float64Array], dtype: type) -> bytes:
    return b"".join([np.ascontiguousarray(array, dtype).tobytes() for array in arrays])


def _check_lengths(*arrays: np.ndarray) -> None:
    lengths = {len(array) for array in arrays}
    if len(lengths) > 1:
        raise InternalError(f"expected arrays of one length in a batch, got {sorted(lengths)}")
