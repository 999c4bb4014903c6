"""Validates worker replies against their items, without any search.

A checksum detects bytes that changed in transit. This module detects the replies of a faulty worker: fewer results than
operations, results of another kind, arrays of inconsistent lengths, node numbers out of range, and costs that no path
has. Compiled searches do not check their input, so such numbers must not reach them.

Every plan pays for these checks, so each array is read once, as unsigned numbers: negative ones become huge.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np

from planmesh.graph.model import Float64Array, Int32Array
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline

INFINITE_BITS: Final = 0x7FF0_0000_0000_0000
"""Bits of the float64 infinity. Finite numbers from +0 have smaller bit patterns; all others have not."""


class Sizes(Protocol):
    """Sizes of a graph and its partitions, which bound the node numbers in replies."""

    @property
    def node_count(self) -> int:
        """Number of nodes of the graph."""

    def nodes_of(self, partition: int) -> int:
        """Return the number of nodes of a partition."""

    def overlay_nodes_of(self, partition: int) -> int:
        """Return the number of overlay nodes of a partition."""

    def nodes_of_many(self, partitions: Int32Array) -> Int32Array:
        """Return the number of nodes of partitions, both int32[k]."""

    def overlay_nodes_of_many(self, partitions: Int32Array) -> Int32Array:
        """Return the number of overlay nodes of partitions, both int32[k]."""


def reply_problem(item: task_pb2.QueryItem, reply: task_pb2.ItemReply, sizes: Sizes, deadline: Deadline) -> str:
    """Return why `reply` is not a valid reply to `item`, "" when it is valid.

    A reported error is a valid reply, except for an expired deadline that has not passed: then the worker's clock is
    wrong.
    """
    if reply.HasField("error"):
        early = reply.error.kind == task_pb2.ITEM_ERROR_KIND_EXPIRED and not deadline.passed
        return f"reported as expired with {deadline.remaining_s():.3f} s left" if early else ""
    if len(reply.results) != len(item.operations):
        return f"expected {len(item.operations)} results, got {len(reply.results)}"
    for operation, result in zip(item.operations, reply.results, strict=True):
        kind = operation.WhichOneof("operation")
        if result.WhichOneof("result") != kind:
            return f"expected a result of {kind}, got {result.WhichOneof('result')}"
        try:
            problem = _CHECKS[kind](operation, result, sizes) if kind else "the operation has no kind"
        except ValueError as error:  # bytes that are not a whole number of elements
            problem = str(error)
        if problem:
            return f"{kind}: {problem}"
    return ""


def _search(operation: task_pb2.Operation, result: task_pb2.OperationResult, sizes: Sizes) -> str:
    found, partition = result.search, operation.search.partition
    count = len(found.overlay_nodes) // 4
    if len(found.distances) != 8 * count:
        return f"expected {8 * count} bytes of distances, got {len(found.distances)}"
    problem = _numbers(found.overlay_nodes, sizes.overlay_nodes_of(partition)) or _costs(found.distances)
    if problem or not found.HasField("segments"):
        return problem
    return _segments(found.segments, count, sizes.nodes_of(partition))


def _meet(_operation: task_pb2.Operation, result: task_pb2.OperationResult, _sizes: Sizes) -> str:
    cost = result.meet.cost
    return "" if cost >= 0 else f"expected a cost from 0, got {cost}"  # infinite when they do not meet


def _unpack(operation: task_pb2.Operation, result: task_pb2.OperationResult, sizes: Sizes) -> str:
    return _segments(result.unpack, len(operation.unpack.kinds), sizes.nodes_of(operation.unpack.partition))


def _expand(operation: task_pb2.Operation, result: task_pb2.OperationResult, sizes: Sizes) -> str:
    expanded = result.expand
    first = np.frombuffer(expanded.first_edge, np.int32)
    nodes, edges = len(operation.expand.nodes) // 4, len(expanded.ends) // 4
    if len(first) != nodes + 1 or first[0] != 0 or first[-1] != edges or (np.diff(first) < 0).any():
        return f"expected {edges} edges in {nodes} rows, got {len(first) - 1} rows, or bounds that do not ascend"
    if len(expanded.costs) != 8 * edges:
        return f"expected {8 * edges} bytes of costs, got {len(expanded.costs)}"
    return _numbers(expanded.ends, sizes.node_count) or _costs(expanded.costs)


def _search_batch(operation: task_pb2.Operation, result: task_pb2.OperationResult, sizes: Sizes) -> str:
    asked, found = operation.search_batch, result.search_batch
    partitions = np.frombuffer(asked.partitions, np.int32)
    counts = np.frombuffer(found.counts, np.int32)
    searches, meets = len(partitions), len(asked.meet_partitions) // 4
    if len(counts) != searches or len(found.settled_nodes) != 4 * (searches + meets):
        return f"expected results of {searches} searches and {meets} meetings, got {len(counts)} and others"
    if (counts < 0).any() or len(found.overlay_nodes) != 4 * int(counts.sum()):
        return f"expected {int(counts.sum())} overlay nodes, got {len(found.overlay_nodes) / 4:g}"
    nodes = np.frombuffer(found.overlay_nodes, np.uint32)
    if len(found.distances) != 8 * len(nodes):
        return f"expected {8 * len(nodes)} bytes of distances, got {len(found.distances)}"
    if (nodes >= np.repeat(sizes.overlay_nodes_of_many(partitions), counts)).any():
        return "expected overlay nodes of the searches' partitions, got others"
    costs = np.frombuffer(found.meet_costs, np.float64)
    if len(costs) != meets or not (costs >= 0).all():
        return f"expected {meets} costs from 0, got others"
    rows = np.repeat(sizes.nodes_of_many(partitions), counts)
    left_out = asked.without_segments and not found.HasField("segments")
    return _costs(found.distances) or ("" if left_out else _segments_of_many(found.segments, rows, least=0))


def _unpack_batch(operation: task_pb2.Operation, result: task_pb2.OperationResult, sizes: Sizes) -> str:
    partitions = np.frombuffer(operation.unpack_batch.partitions, np.int32)
    return _segments_of_many(result.unpack_batch, sizes.nodes_of_many(partitions), least=1)


def _search_many(operation: task_pb2.Operation, result: task_pb2.OperationResult, sizes: Sizes) -> str:
    asked, found = operation.search_many, result.search_many
    counts = np.frombuffer(found.counts, np.int32)
    searches, labels = len(asked.nodes) // 4, len(found.overlay_nodes) // 4
    if len(counts) != searches or (counts < 0).any() or int(counts.sum(dtype=np.int64)) != labels:
        return f"expected {labels} overlay nodes of {searches} searches, got other counts"
    if len(found.distances) != 8 * labels:
        return f"expected {8 * labels} bytes of distances, got {len(found.distances)}"
    return _numbers(found.overlay_nodes, sizes.overlay_nodes_of(asked.partition)) or _costs(found.distances)


def _meet_many(operation: task_pb2.Operation, result: task_pb2.OperationResult, _sizes: Sizes) -> str:
    count = len(operation.meet_many.starts) // 4 * (len(operation.meet_many.goals) // 4)
    costs: Float64Array = np.frombuffer(result.meet_many.costs, np.float64)
    if len(costs) != count:
        return f"expected {count} costs, got {len(costs)}"
    return "" if (costs >= 0).all() else "expected costs from 0, got others"  # infinite where they do not meet


_CHECKS: Final = {
    "search": _search,
    "meet": _meet,
    "unpack": _unpack,
    "expand": _expand,
    "search_many": _search_many,
    "meet_many": _meet_many,
    "search_batch": _search_batch,
    "unpack_batch": _unpack_batch,
}


def _segments_of_many(segments: task_pb2.UnpackResult, nodes_max: Int32Array, *, least: int) -> str:
    """Check k segments of at least `least` nodes, whose nodes are below `nodes_max` (int32[k])."""
    lengths = np.frombuffer(segments.lengths, np.int32)
    nodes = np.frombuffer(segments.nodes, np.uint32)
    if len(lengths) != len(nodes_max):
        return f"expected {len(nodes_max)} segments, got {len(lengths)}"
    if (lengths < least).any() or int(lengths.sum()) != len(nodes):
        return f"expected segments of {len(nodes)} nodes in total, got {int(lengths.sum())}, or one below {least}"
    edges = len(nodes) - int(np.count_nonzero(lengths))
    if len(segments.costs) != 8 * edges:
        return f"expected {8 * edges} bytes of costs, got {len(segments.costs)}"
    if (nodes >= np.repeat(nodes_max, lengths)).any():
        return "expected nodes of the segments' partitions, got others"
    return _costs(segments.costs)


def _segments(segments: task_pb2.UnpackResult, count: int, nodes_max: int) -> str:
    """Check `count` segments in a partition of `nodes_max` nodes. A segment of k nodes (1 or more) has k - 1 edges."""
    if len(segments.lengths) != 4 * count:
        return f"expected {count} segments, got {len(segments.lengths) / 4:g}"
    nodes = len(segments.nodes) // 4
    lengths = np.frombuffer(segments.lengths, np.int32).tolist()
    if sum(lengths) != nodes or (lengths and min(lengths) < 1):
        return f"expected segments of {nodes} nodes in total, got {sum(lengths)}, or an empty segment"
    if len(segments.costs) != 8 * (nodes - count):
        return f"expected {8 * (nodes - count)} bytes of costs, got {len(segments.costs)}"
    return _numbers(segments.nodes, nodes_max) or _costs(segments.costs)


def _numbers(raw: bytes, count: int) -> str:
    """Check that all numbers (int32[k]) are from 0 to `count` - 1."""
    if raw and int(np.maximum.reduce(np.frombuffer(raw, np.uint32))) >= count:
        return f"expected node numbers from 0 to {count - 1}, got others"
    return ""


def _costs(raw: bytes) -> str:
    """Check that all costs (float64[k]) are finite and not negative."""
    if not raw or int(np.maximum.reduce(np.frombuffer(raw, np.uint64))) < INFINITE_BITS:
        return ""
    costs: Float64Array = np.frombuffer(raw, np.float64)
    if (costs >= 0).all() and np.isfinite(costs).all():  # -0.0 is valid
        return ""
    return "expected finite costs from 0, got others"
