"""Turns the segments of a path into an answer: joins them, removes zero-cost loops, names nodes, adds the costs up."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.errors import InternalError, LimitExceeded
from planmesh.graph.model import Float64Array, Int32Array
from planmesh.rpc.channel import CONTENT_BYTES_MAX
from planmesh.rpc.detail_encoding import encode_nodes, node_sizes
from planmesh.rpc.step_encoding import encode_steps, little_endian_bytes
from planmesh.search.loops import without_loops
from planmesh.search.read_only import read_only
from planmesh.v1 import plan_pb2
from services.coordinator.versioned_graph import Segment, VersionedGraph

RELATIVE_TOLERANCE: Final = 1e-9
"""Allowed difference between the search's cost and the sum of the steps, which add the same float64 numbers in another
order."""

STEP_BYTES_MIN: Final = 19
"""Fewest bytes of a step on the wire, without its texts: tags, lengths and the cost."""


@dataclass(frozen=True, slots=True)
class Path:
    """Global numbers of the nodes (int32[k]) and costs of the edges between them (float64[k - 1])."""

    nodes: Int32Array
    costs: Float64Array


def join(segments: Sequence[Segment], start: int, goal: int, cost: float) -> Path:
    """Join segments, in order, to a path from `start` to `goal` without loops.

    Raises InternalError unless each segment begins where the previous one ends and the costs add up to `cost`.
    """
    nodes: Int32Array = np.concatenate([segments[0][0], *(nodes[1:] for nodes, _ in segments[1:])])
    costs: Float64Array = np.concatenate([costs for _, costs in segments])
    fits = all(left[0][-1] == right[0][0] for left, right in itertools.pairwise(segments))
    if not fits or nodes[0] != start or nodes[-1] != goal or len(nodes) != len(costs) + 1:
        raise InternalError("the segments of a plan do not join")
    nodes, costs = without_loops(nodes, costs)
    total = float(costs.sum())
    if abs(total - cost) > RELATIVE_TOLERANCE * max(abs(cost), abs(total)):
        raise InternalError(f"the steps of a plan add up to {total!r}, the search found {cost!r}")
    return Path(nodes, costs)


@dataclass(frozen=True, slots=True)
class WrittenPlan:
    """A serialised v1.Plan, with the values that traces record. `steps` is None if they were not computed."""

    message: bytes
    cost: float
    steps: int | None
    partitions: list[str]


def write_cost(
    graph: VersionedGraph, start: str, goal: str, cost: float, partition_numbers: Sequence[int]
) -> WrittenPlan:
    """Return the plan of detail COST. `partition_numbers` are those that its path passes, possibly repeated."""
    names = graph.directory.partition_names
    partitions = [names[number] for number in dict.fromkeys(partition_numbers)]
    plan = plan_pb2.Plan(
        graph=graph.name,
        version=graph.version,
        start=start,
        goal=goal,
        cost=cost,
        partitions=partitions,
        detail=plan_pb2.DETAIL_COST,
    )
    return WrittenPlan(plan.SerializeToString(), cost, None, partitions)


def write_plan(
    graph: VersionedGraph,
    start: str,
    goal: str,
    path: Path,
    detail: plan_pb2.Detail.ValueType = plan_pb2.DETAIL_STEPS,
) -> WrittenPlan:
    """Return the plan of a path, of detail NODES or STEPS. Its cost is the sum of the steps' costs, added in order.

    Raises LimitExceeded when the plan is larger than CONTENT_BYTES_MAX.
    """
    numbers = graph.directory.partition_of_many(path.nodes)
    names = graph.directory.partition_names
    partitions = [names[number] for number in dict.fromkeys(numbers.tolist())]
    cost = float(sum(path.costs.tolist()))
    if detail == plan_pb2.DETAIL_NODES:
        return WrittenPlan(_nodes_message(graph, path, numbers, cost), cost, len(path.costs), partitions)
    head = plan_pb2.Plan(
        graph=graph.name, version=graph.version, start=start, goal=goal, cost=cost, partitions=partitions
    )
    _check_size(_steps_bytes_min(graph, path.nodes, numbers), len(path.costs))
    steps = encode_steps(
        read_only(path.nodes, np.int32),
        read_only(numbers, np.int32),
        read_only(little_endian_bytes(path.costs), np.uint8),
        *graph.id_table,
        *graph.partition_name_table,
    )
    message = head.SerializeToString() + steps.tobytes()
    _check_size(len(message), len(path.costs))
    return WrittenPlan(message, cost, len(path.costs), partitions)


def _nodes_message(graph: VersionedGraph, path: Path, partitions: Int32Array, cost: float) -> bytes:
    prefix = plan_pb2.Plan(graph=graph.name, version=graph.version, detail=plan_pb2.DETAIL_NODES).SerializeToString()
    first = read_only(np.array([0, len(path.nodes)]), np.int64)
    nodes, partitions = read_only(path.nodes, np.int32), read_only(partitions, np.int32)
    sizes = node_sizes(len(prefix), first, nodes, partitions, graph.texts)
    _check_size(int(sizes[0]), len(path.costs))
    written = encode_nodes(prefix, sizes, first, nodes, partitions, path.costs, np.array([cost]), graph.texts)
    return written.blob.tobytes()


def _steps_bytes_min(graph: VersionedGraph, nodes: Int32Array, partitions: Int32Array) -> int:
    """Return a lower bound on the bytes of a path's steps, before memory for them is allocated."""
    texts = 0
    for (offsets, _), which in ((graph.id_table, nodes), (graph.partition_name_table, partitions)):
        lengths = offsets[which + 1] - offsets[which]
        texts += int(lengths[:-1].sum() + lengths[1:].sum())
    return texts + STEP_BYTES_MIN * (len(nodes) - 1)


def _check_size(size_bytes: int, steps: int) -> None:
    if size_bytes > CONTENT_BYTES_MAX:
        raise LimitExceeded(
            f"the cheapest path has {steps:,} steps, which take {size_bytes:,} bytes or more; expected at most "
            f"{CONTENT_BYTES_MAX:,}: ask for less detail, or plan it in sections",
            bound="CONTENT_BYTES_MAX",
        )
