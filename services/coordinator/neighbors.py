"""Finds all nodes within a few edges of a node, with their costs. Each hop takes one round of shard queries."""

from __future__ import annotations

import functools
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from planmesh.errors import InternalError, LimitExceeded
from planmesh.graph.model import Float64Array, Int32Array
from planmesh.internal.v1 import coordinator_pb2, task_pb2
from planmesh.rpc.channel import CONTENT_BYTES_MAX
from planmesh.rpc.deadline import Deadline
from planmesh.search.mixed_search import MixedSearch
from planmesh.v1 import plan_pb2
from services.coordinator.change_feed import wanted_by
from services.coordinator.changed_neighbors import expand_changed
from services.coordinator.changed_plans import ChangedPlans, Work
from services.coordinator.changed_writing import node_ids, partition_names
from services.coordinator.graph_changes import ChangesView
from services.coordinator.shard_queries import ShardQueries
from services.coordinator.versioned_graph import VersionedGraph


@dataclass(frozen=True, slots=True)
class Reached:
    """Nodes reached so far (global numbers, ascending, int32[k]), their costs and their hops."""

    nodes: Int32Array
    costs: Float64Array
    hops: Int32Array
    improved: Int32Array
    """Positions in `nodes` of those that the last hop added or reached at less cost. The next hop starts from them."""


def start_only(node: int) -> Reached:
    """Return the state before the first hop: the requested node, at cost 0."""
    zero = np.zeros(1, np.int32)
    return Reached(np.array([node], np.int32), np.zeros(1, np.float64), zero, zero)


def extended(reached: Reached, hop: int, ends: Int32Array, costs: Float64Array) -> Reached:
    """Return the state after one more hop, whose edges reach `ends` (int32[m]) at total `costs` (float64[m]).

    After hop k, the cost of a node is the least of all paths with at most k edges (Bellman and Ford).
    """
    found, inverse = np.unique(ends, return_inverse=True)
    offered = np.full(len(found), np.inf)
    np.minimum.at(offered, inverse, costs)
    nodes = np.union1d(reached.nodes, found).astype(np.int32)
    known_costs = np.full(len(nodes), np.inf)
    hops = np.full(len(nodes), hop, np.int32)
    old = np.searchsorted(nodes, reached.nodes)
    known_costs[old] = reached.costs
    hops[old] = reached.hops
    at = np.searchsorted(nodes, found)
    better = offered < known_costs[at]
    known_costs[at[better]] = offered[better]
    return Reached(nodes, known_costs, hops, at[better].astype(np.int32))


async def compute_neighbors(
    queries: ShardQueries, changed: ChangedPlans, request: coordinator_pb2.ComputeNeighborsRequest, deadline: Deadline
) -> coordinator_pb2.ComputeNeighborsResponse:
    """Return the neighbours of a node on one version of the graph.

    Raises LimitExceeded when there are more than `max_neighbors` or when they fit in no response, and the errors of
    ShardQueries.
    """
    return await queries.on_one_version(
        request.graph,
        lambda graph: _compute(graph, queries, changed, request, deadline),
        deadline,
        wanted=wanted_by(request),
    )


async def _compute(
    graph: VersionedGraph,
    queries: ShardQueries,
    changed: ChangedPlans,
    request: coordinator_pb2.ComputeNeighborsRequest,
    deadline: Deadline,
) -> coordinator_pb2.ComputeNeighborsResponse:
    place = await queries.locate(graph, request.node)
    reached = start_only(place.node)
    for hop in range(1, request.depth + 1):
        if not len(reached.improved):
            break
        if graph.changes is None:
            ends, costs = await _expand(graph, queries, reached, request.direction, deadline)
        else:
            ends, costs = await changed.run(
                graph, deadline, functools.partial(_expand_changed, graph, reached, request)
            )
        reached = extended(reached, hop, ends, costs)
        if len(reached.nodes) - 1 > request.max_neighbors:
            raise LimitExceeded(
                f"more than {request.max_neighbors} nodes are within {hop} edges of {request.node!r}; "
                f"ask for a smaller depth or a larger max_neighbors",
                bound="max_neighbors",
            )
    return write_neighbors(graph, place.node, request.node, reached)


def _expand_changed(
    graph: VersionedGraph,
    reached: Reached,
    request: coordinator_pb2.ComputeNeighborsRequest,
    _search: MixedSearch,
    view: ChangesView,
    work: Work,
) -> tuple[Int32Array, Float64Array]:
    nodes, costs = reached.nodes[reached.improved].tolist(), reached.costs[reached.improved].tolist()
    return expand_changed(graph, view, zip(nodes, costs, strict=True), request.direction, work.checkpoint)


async def _expand(
    graph: VersionedGraph, queries: ShardQueries, reached: Reached, direction: int, deadline: Deadline
) -> tuple[Int32Array, Float64Array]:
    """Return the other ends of all edges at the improved nodes, and the total costs of reaching them."""
    nodes = reached.nodes[reached.improved]
    costs = reached.costs[reached.improved]
    partitions = graph.directory.partition_of_many(nodes)
    operations: dict[int, list[task_pb2.Operation]] = defaultdict(list)
    groups: dict[int, list[Float64Array]] = defaultdict(list)
    # Node numbers ascend, so those of one partition are consecutive.
    numbers, begins = np.unique(partitions, return_index=True)
    for number, begin, end in zip(numbers.tolist(), begins, [*begins[1:], len(nodes)], strict=True):
        expand = task_pb2.ExpandOperation(
            partition=number,
            nodes=(nodes[begin:end] - graph.partition_first[number]).astype(np.int32).tobytes(),
            outgoing=direction != plan_pb2.DIRECTION_IN,
            incoming=direction in {plan_pb2.DIRECTION_IN, plan_pb2.DIRECTION_BOTH},
        )
        operations[graph.shard_of(number)].append(task_pb2.Operation(expand=expand))
        groups[graph.shard_of(number)].append(costs[begin:end])
    answers = await queries.ask(graph, operations, deadline)
    ends: list[Int32Array] = []
    reached_costs: list[Float64Array] = []
    for shard, answer in answers.items():
        for from_costs, result in zip(groups[shard], answer.results, strict=True):
            first_edge = np.frombuffer(result.expand.first_edge, np.int32)
            if len(first_edge) != len(from_costs) + 1:
                raise InternalError(
                    f"expected the edges of {len(from_costs)} nodes, got those of {len(first_edge) - 1}"
                )
            ends.append(np.frombuffer(result.expand.ends, np.int32))
            reached_costs.append(
                np.repeat(from_costs, np.diff(first_edge)) + np.frombuffer(result.expand.costs, np.float64)
            )
    return np.concatenate(ends), np.concatenate(reached_costs)


def write_neighbors(
    graph: VersionedGraph, node: int, node_id: str, reached: Reached
) -> coordinator_pb2.ComputeNeighborsResponse:
    """Return the response, sorted by hops, then costs. Raises LimitExceeded if it exceeds CONTENT_BYTES_MAX."""
    others = np.flatnonzero(reached.nodes != node)
    nodes = reached.nodes[others].tolist()
    rows = sorted(
        zip(
            reached.hops[others].tolist(),
            reached.costs[others].tolist(),
            node_ids(graph, nodes),
            partition_names(graph, nodes),
            strict=True,
        )
    )
    response = coordinator_pb2.ComputeNeighborsResponse(graph=graph.name, version=graph.version, node=node_id)
    add = response.neighbors.add
    for hops, cost, name, partition in rows:
        add(node=name, hops=hops, cost=cost, partition=partition)
    size_bytes = response.ByteSize()
    if size_bytes > CONTENT_BYTES_MAX:
        raise LimitExceeded(
            f"the {len(rows):,} neighbours of {node_id!r} take {size_bytes:,} bytes; expected at most "
            f"{CONTENT_BYTES_MAX:,}: ask for a smaller depth",
            bound="CONTENT_BYTES_MAX",
        )
    return response
