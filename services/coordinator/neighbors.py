"""All nodes within a few edges of one, with distances: layer by layer, each layer one round of shard queries."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from planmesh.errors import InternalError, LimitExceeded
from planmesh.graph.model import Float64Array, Int32Array
from planmesh.internal.v1 import coordinator_pb2, task_pb2
from planmesh.rpc.channel import CONTENT_BYTES_MAX
from planmesh.rpc.deadline import Deadline
from planmesh.v1 import plan_pb2
from services.coordinator.shard_queries import ShardQueries
from services.coordinator.versioned_graph import VersionedGraph


@dataclass(frozen=True, slots=True)
class Layer:
    """Nodes reached so far (global numbers, ascending, int32[k]), their costs and hops, and which to go on from."""

    nodes: Int32Array
    costs: Float64Array
    hops: Int32Array
    improved: Int32Array
    """Positions of the nodes that the last layer added or made cheaper."""


def first_layer(node: int) -> Layer:
    """Return the layer of the asked node alone."""
    zero = np.zeros(1, np.int32)
    return Layer(np.array([node], np.int32), np.zeros(1, np.float64), zero, zero)


def next_layer(layer: Layer, hop: int, ends: Int32Array, costs: Float64Array) -> Layer:
    """Add what `ends` (int32[m]) can be reached at for `costs` (float64[m]) by one more edge.

    The cost of a node after k layers is the least among paths of at most k edges (Bellman and Ford).
    """
    found, inverse = np.unique(ends, return_inverse=True)
    offered = np.full(len(found), np.inf)
    np.minimum.at(offered, inverse, costs)
    nodes = np.union1d(layer.nodes, found).astype(np.int32)
    known_costs = np.full(len(nodes), np.inf)
    hops = np.full(len(nodes), hop, np.int32)
    old = np.searchsorted(nodes, layer.nodes)
    known_costs[old] = layer.costs
    hops[old] = layer.hops
    at = np.searchsorted(nodes, found)
    better = offered < known_costs[at]
    known_costs[at[better]] = offered[better]
    return Layer(nodes, known_costs, hops, at[better].astype(np.int32))


async def compute_neighbors(
    queries: ShardQueries, request: coordinator_pb2.ComputeNeighborsRequest, deadline: Deadline
) -> coordinator_pb2.ComputeNeighborsResponse:
    """Answer one request; raises planmesh errors, LimitExceeded when there are more than `max_neighbors`."""
    return await queries.on_one_version(
        request.graph, lambda graph: _compute(graph, queries, request, deadline), deadline
    )


async def _compute(
    graph: VersionedGraph,
    queries: ShardQueries,
    request: coordinator_pb2.ComputeNeighborsRequest,
    deadline: Deadline,
) -> coordinator_pb2.ComputeNeighborsResponse:
    place = await queries.locate(graph, request.node)
    layer = first_layer(place.node)
    for hop in range(1, request.depth + 1):
        if not len(layer.improved):
            break
        ends, costs = await _expand(graph, queries, layer, request.direction, deadline)
        layer = next_layer(layer, hop, ends, costs)
        if len(layer.nodes) - 1 > request.max_neighbors:
            raise LimitExceeded(
                f"more than {request.max_neighbors} nodes lie within {hop} edges of {request.node!r}; "
                f"ask for a smaller depth or a larger max_neighbors",
                bound="max_neighbors",
            )
    return write_neighbors(graph, place.node, request.node, layer)


async def _expand(
    graph: VersionedGraph, queries: ShardQueries, layer: Layer, direction: int, deadline: Deadline
) -> tuple[Int32Array, Float64Array]:
    """Return the other ends of all edges at the improved nodes, and the costs of going there."""
    nodes = layer.nodes[layer.improved]
    costs = layer.costs[layer.improved]
    partitions = graph.directory.partition_of_many(nodes)
    operations: dict[int, list[task_pb2.Operation]] = defaultdict(list)
    groups: dict[int, list[Float64Array]] = defaultdict(list)
    # Nodes ascend, so each partition's are a run.
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
    reached: list[Float64Array] = []
    for shard, answer in answers.items():
        for from_costs, result in zip(groups[shard], answer.results, strict=True):
            first_edge = np.frombuffer(result.expand.first_edge, np.int32)
            if len(first_edge) != len(from_costs) + 1:
                raise InternalError(
                    f"expected the edges of {len(from_costs)} nodes, got those of {len(first_edge) - 1}"
                )
            ends.append(np.frombuffer(result.expand.ends, np.int32))
            reached.append(np.repeat(from_costs, np.diff(first_edge)) + np.frombuffer(result.expand.costs, np.float64))
    return np.concatenate(ends), np.concatenate(reached)


def write_neighbors(
    graph: VersionedGraph, node: int, node_id: str, layer: Layer
) -> coordinator_pb2.ComputeNeighborsResponse:
    """Return the answer, by hops and costs; LimitExceeded for one that fits in no response."""
    others = np.flatnonzero(layer.nodes != node)
    nodes = layer.nodes[others]
    partitions = graph.directory.partition_of_many(nodes).tolist()
    rows = sorted(
        zip(
            layer.hops[others].tolist(),
            layer.costs[others].tolist(),
            graph.directory.names(nodes),
            partitions,
            strict=True,
        )
    )
    response = coordinator_pb2.ComputeNeighborsResponse(graph=graph.name, version=graph.version, node=node_id)
    partition_names = graph.directory.partition_names
    add = response.neighbors.add
    for hops, cost, name, partition in rows:
        add(node=name, hops=hops, cost=cost, partition=partition_names[partition])
    size_bytes = response.ByteSize()
    if size_bytes > CONTENT_BYTES_MAX:
        raise LimitExceeded(
            f"the {len(rows):,} neighbours of {node_id!r} take {size_bytes:,} bytes; expected at most "
            f"{CONTENT_BYTES_MAX:,}: ask for a smaller depth",
            bound="CONTENT_BYTES_MAX",
        )
    return response
