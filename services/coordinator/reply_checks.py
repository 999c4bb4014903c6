"""Is what a worker sent an answer to what was asked? Told without searching anything.

A checksum finds bytes that changed on their way. This finds the answers of a worker that is itself wrong: fewer
results than operations, results of another kind, arrays that do not fit each other, numbers of nodes that no partition
has, costs that no path has. Compiled searches take such numbers as they come, so none may reach them.

It is on every plan's way, so an array costs one pass: read as unsigned numbers, whatever is negative is huge.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np

from planmesh.graph.model import Float64Array
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline

INFINITE_BITS: Final = 0x7FF0_0000_0000_0000
"""Of the float64 infinity. Those of finite numbers that are not negative are less; of all others, more or as many."""


class Sizes(Protocol):
    """How large a graph and its partitions are."""

    @property
    def node_count(self) -> int:
        """Nodes of the graph."""

    def nodes_of(self, partition: int) -> int:
        """Nodes of a partition."""

    def overlay_nodes_of(self, partition: int) -> int:
        """Overlay nodes of a partition."""


def why_no_answer(item: task_pb2.QueryItem, reply: task_pb2.ItemReply, sizes: Sizes, deadline: Deadline) -> str:
    """Why `reply` is no answer to `item`, "" when it may be one.

    An error is an answer, but for that of a deadline which has not passed: that worker's clock is wrong.
    """
    if reply.HasField("error"):
        early = reply.error.kind == task_pb2.ITEM_ERROR_KIND_EXPIRED and not deadline.passed
        return f"called expired with {deadline.remaining_s():.3f} s left" if early else ""
    if len(reply.results) != len(item.operations):
        return f"expected {len(item.operations)} results, got {len(reply.results)}"
    for operation, result in zip(item.operations, reply.results, strict=True):
        kind = operation.WhichOneof("operation")
        if result.WhichOneof("result") != kind:
            return f"expected a result of {kind}, got {result.WhichOneof('result')}"
        try:
            problem = _CHECKS[kind](operation, result, sizes) if kind else "an operation of no kind"
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
    return "" if cost >= 0 else f"a cost of {cost}"  # infinite when they do not meet


def _unpack(operation: task_pb2.Operation, result: task_pb2.OperationResult, sizes: Sizes) -> str:
    return _segments(result.unpack, len(operation.unpack.kinds), sizes.nodes_of(operation.unpack.partition))


def _expand(operation: task_pb2.Operation, result: task_pb2.OperationResult, sizes: Sizes) -> str:
    expanded = result.expand
    first = np.frombuffer(expanded.first_edge, np.int32)
    nodes, edges = len(operation.expand.nodes) // 4, len(expanded.ends) // 4
    if len(first) != nodes + 1 or first[0] != 0 or first[-1] != edges or (np.diff(first) < 0).any():
        return f"expected {edges} edges in {nodes} rows, got rows of {len(first) - 1} nodes that do not divide them"
    if len(expanded.costs) != 8 * edges:
        return f"expected {8 * edges} bytes of costs, got {len(expanded.costs)}"
    return _numbers(expanded.ends, sizes.node_count) or _costs(expanded.costs)


_CHECKS: Final = {"search": _search, "meet": _meet, "unpack": _unpack, "expand": _expand}


def _segments(segments: task_pb2.UnpackResult, count: int, nodes_max: int) -> str:
    """Check `count` segments in a partition of `nodes_max` nodes; each has a node, and between two an edge."""
    if len(segments.lengths) != 4 * count:
        return f"expected {count} segments, got {len(segments.lengths) / 4:g}"
    nodes = len(segments.nodes) // 4
    lengths = np.frombuffer(segments.lengths, np.int32).tolist()
    if sum(lengths) != nodes or (lengths and min(lengths) < 1):
        return f"expected segments of {nodes} nodes, got some of {sum(lengths)}, or an empty one"
    if len(segments.costs) != 8 * (nodes - count):
        return f"expected {8 * (nodes - count)} bytes of costs, got {len(segments.costs)}"
    return _numbers(segments.nodes, nodes_max) or _costs(segments.costs)


def _numbers(raw: bytes, count: int) -> str:
    """Check that all numbers (int32[k]) are among 0 and following, fewer than `count`."""
    if raw and int(np.maximum.reduce(np.frombuffer(raw, np.uint32))) >= count:
        return f"expected nodes below {count}, got others"
    return ""


def _costs(raw: bytes) -> str:
    """Check that all costs (float64[k]) are finite and not negative."""
    if not raw or int(np.maximum.reduce(np.frombuffer(raw, np.uint64))) < INFINITE_BITS:
        return ""
    costs: Float64Array = np.frombuffer(raw, np.float64)
    if (costs >= 0).all() and np.isfinite(costs).all():  # -0.0 is no less than 0
        return ""
    return "expected finite costs that are not negative, got others"
