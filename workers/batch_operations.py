"""Operations for batches of plans: many local searches, meetings and expansions, with their results as flat arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from planmesh.errors import InternalError
from planmesh.graph.model import Float64Array, Int32Array
from planmesh.internal.v1 import task_pb2
from planmesh.search.local_search import LocalSearch
from planmesh.search.unpack import SegmentArrays
from planmesh.snapshot.partition_file import OpenPartition

PartitionOf = Callable[[int], OpenPartition]
"""Returns an open partition. Raises InternalError for a number that is not a partition's, and SnapshotDamaged."""


def search_batch(
    partition_of: PartitionOf, search: LocalSearch, operation: task_pb2.SearchBatchOperation
) -> task_pb2.SearchBatchResult:
    """Run the searches and the meetings of an operation.

    Raises InternalError when its arrays have different lengths, and ValueError for a node that its partition lacks.
    """
    partitions, nodes = _numbers(operation.partitions), _numbers(operation.nodes)
    backward = np.frombuffer(operation.backward, np.uint8)
    meets = tuple(map(_numbers, (operation.meet_partitions, operation.meet_starts, operation.meet_goals)))
    _check_lengths(partitions, nodes, backward)
    _check_lengths(*meets)
    with_segments = not operation.without_segments
    found = [
        search.search(partition_of(partition).index, node, bool(back), with_segments=with_segments)
        for partition, node, back in zip(partitions.tolist(), nodes.tolist(), backward.tolist(), strict=True)
    ]
    met = [
        search.meet(partition_of(partition).index, start, goal)
        for partition, start, goal in zip(*(numbers.tolist() for numbers in meets), strict=True)
    ]
    settled = [labels.settled for labels in found] + [settled for _, settled in met]
    lengths = [
        np.zeros(len(labels.nodes), np.int32) if labels.segments is None else labels.segments.lengths
        for labels in found
    ]
    segments = [labels.segments for labels in found if labels.segments is not None]
    return task_pb2.SearchBatchResult(
        counts=np.array([len(labels.nodes) for labels in found], np.int32).tobytes(),
        overlay_nodes=_joined([labels.nodes for labels in found], np.int32),
        distances=_joined([labels.distances for labels in found], np.float64),
        settled_nodes=np.array(settled, np.int32).tobytes(),
        segments=_segments(segments, lengths) if with_segments else None,
        meet_costs=np.array([cost for cost, _ in met], np.float64).tobytes(),
    )


def unpack_batch(
    partition_of: PartitionOf, search: LocalSearch, operation: task_pb2.UnpackBatchOperation
) -> task_pb2.UnpackResult:
    """Expand the segments of an operation, with one call of the kernel for each partition.

    Raises InternalError when its arrays have different lengths or the partitions do not ascend; ValueError as
    `LocalSearch.unpack` does.
    """
    partitions, first, second = map(_numbers, (operation.partitions, operation.first, operation.second))
    kinds = np.frombuffer(operation.kinds, np.uint8)
    _check_lengths(partitions, kinds, first, second)
    if (np.diff(partitions) < 0).any():
        raise InternalError("expected segments in ascending order of their partitions, got others")
    begins = np.flatnonzero(np.diff(partitions, prepend=-1)).tolist()
    segments = [
        search.unpack(partition_of(int(partitions[begin])).index, kinds[begin:end], first[begin:end], second[begin:end])
        for begin, end in zip(begins, [*begins[1:], len(partitions)], strict=True)
    ]
    return _segments(segments, [some.lengths for some in segments])


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
