"""What a node reaches, or what reaches it, and what a failure takes away: searches of whole costs on one version.

Both are searched here, in the mapped files, with every partition that is reached opened: see `changed_plans`.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.errors import InvalidRequest, LimitExceeded
from planmesh.graph.model import Float64Array, Int32Array
from planmesh.internal.v1 import coordinator_pb2 as pb
from planmesh.rpc.deadline import Deadline
from planmesh.search.delta import NOTHING_BLOCKED, UP, is_in
from planmesh.search.mixed_search import MixedSearch, Reach
from planmesh.v1 import plan_pb2
from services.coordinator.avoidance import Avoided, AvoidSpec
from services.coordinator.change_feed import wanted_by
from services.coordinator.changed_neighbors import edges_at
from services.coordinator.changed_plans import ChangedPlans, Work
from services.coordinator.changed_writing import node_ids, partition_names
from services.coordinator.graph_changes import ChangesView
from services.coordinator.shard_queries import ShardQueries
from services.coordinator.versioned_graph import VersionedGraph

HITS_DEFAULT: Final = 10_000
AFFECTED_DEFAULT: Final = 100_000
HITS_PER_MESSAGE: Final = 1_000
"""With the longest ids, a message then has a megabyte."""

SOURCES_MAX: Final = 100
"""Nodes whose paths are judged: each needs two searches."""


@dataclass(frozen=True, slots=True)
class _Loss:
    """The affected nodes of one source: int32[k], costs before and after float64[k], the lost ones first."""

    source: int
    nodes: Int32Array
    before: Float64Array
    after: Float64Array


class Reaches:
    """Computes reachable nodes and blast radii. All searches of an answer are on one version."""

    def __init__(self, queries: ShardQueries, changed: ChangedPlans) -> None:
        self._queries = queries
        self._changed = changed

    async def reachable(
        self, request: pb.ComputeReachableRequest, deadline: Deadline, trace_id: str
    ) -> AsyncIterator[pb.ComputeReachableResponse]:
        """Yield the hits. Raises LimitExceeded, and the errors of ShardQueries."""

        async def find(graph: VersionedGraph) -> tuple[VersionedGraph, Reach]:
            place = await self._queries.locate(graph, request.node)
            compute = functools.partial(_reachable, graph, place.node, request)
            return graph, await self._changed.run(graph, deadline, compute)

        graph, found = await self._queries.on_one_version(request.graph, find, deadline, wanted=wanted_by(request))
        for message in _hits(graph, request, found):
            message.trace_id = trace_id
            yield message

    async def blast_radius(
        self, request: pb.ComputeBlastRadiusRequest, deadline: Deadline, trace_id: str
    ) -> AsyncIterator[pb.ComputeBlastRadiusResponse]:
        """Yield the affected nodes. Raises InvalidRequest, LimitExceeded, and the errors of ShardQueries."""

        async def find(graph: VersionedGraph) -> tuple[VersionedGraph, list[_Loss]]:
            failed = [(await self._queries.locate(graph, node)).node for node in request.nodes]
            sources = [(await self._queries.locate(graph, node)).node for node in request.sources]
            edges = AvoidSpec(edges=tuple((edge.start, edge.goal) for edge in request.edges)).on(graph).edges
            avoided = Avoided(np.array(failed, np.int64), edges)
            compute = functools.partial(_losses, graph, avoided, sources, request)
            return graph, await self._changed.run(graph, deadline, compute)

        graph, found = await self._queries.on_one_version(request.graph, find, deadline, wanted=wanted_by(request))
        for message in _affected(graph, found):
            message.trace_id = trace_id
            yield message


def _reachable(
    graph: VersionedGraph,
    node: int,
    request: pb.ComputeReachableRequest,
    search: MixedSearch,
    view: ChangesView,
    work: Work,
) -> Reach:
    blocked = AvoidSpec.of(request.avoid).on(graph).blocked()
    if is_in(blocked.nodes, node):
        raise InvalidRequest(f"node: expected a node that is not avoided, got {request.node!r}", field="node")
    hits_max = request.max_hits or HITS_DEFAULT
    cost_max = request.max_cost if request.HasField("max_cost") else np.inf
    forward = request.direction != plan_pb2.DIRECTION_IN
    found = search.reach(view.delta, node, cost_max, hits_max + 1, blocked, work.checkpoint, forward=forward)
    if found is None:
        raise LimitExceeded(
            f"more than {hits_max:,} nodes are reached from {request.node!r}; ask for a smaller max_cost or a larger "
            "max_hits",
            bound="max_hits",
        )
    return found


def _losses(
    graph: VersionedGraph,
    avoided: Avoided,
    sources: list[int],
    request: pb.ComputeBlastRadiusRequest,
    search: MixedSearch,
    view: ChangesView,
    work: Work,
) -> list[_Loss]:
    failed = set(avoided.nodes.tolist())
    judged = sources or _sources_of(graph, view, avoided)
    for node in judged:
        if node in failed:
            raise InvalidRequest("sources: expected nodes that do not fail, got one of nodes", field="sources")
    hits_max = request.max_hits or AFFECTED_DEFAULT
    cost_max = request.max_cost if request.HasField("max_cost") else np.inf
    growth = request.min_growth if request.HasField("min_growth") else np.inf
    opened = np.ones(len(view.base.partition_first) - 1, np.uint8)
    blocked, count = avoided.blocked(), 0
    losses: list[_Loss] = []
    for source in dict.fromkeys(judged):
        before = search.reach(view.delta, source, cost_max, hits_max, NOTHING_BLOCKED, work.checkpoint)
        if before is None:
            raise _too_many(f"more than {hits_max:,} nodes are reached from a source")
        is_left = ~np.isin(before.nodes, avoided.nodes)
        nodes, costs = before.nodes[is_left], before.distances[is_left]
        after = search.distances(view.delta, opened, source, nodes, blocked, work.checkpoint)
        hit = np.flatnonzero(~np.isfinite(after) | (after > costs * growth))
        order = hit[np.lexsort((costs[hit], np.isfinite(after[hit])))]
        losses.append(_Loss(source, nodes[order], costs[order], after[order]))
        count += len(order)
        if count > hits_max:
            raise _too_many(f"more than {hits_max:,} nodes are affected")
    return losses


def _sources_of(graph: VersionedGraph, view: ChangesView, avoided: Avoided) -> list[int]:
    """Return the nodes that have an edge to a failed node, and the tails of the failed edges."""
    failed = avoided.nodes.tolist()
    before = (tail for node in failed for tail, _ in edges_at(graph, view, node, forward=False))
    found = set(before) | {tail for tail, _ in avoided.edges if view.delta.state(tail) == UP}
    sources = sorted(found - set(failed))
    if len(sources) > SOURCES_MAX:
        raise InvalidRequest(
            f"sources: expected up to {SOURCES_MAX} of them, because {len(sources):,} nodes have an edge to what fails",
            field="sources",
        )
    return sources


def _too_many(what: str) -> LimitExceeded:
    return LimitExceeded(
        f"{what}; ask for a smaller max_cost, for fewer sources or a larger max_hits", bound="max_hits"
    )


def _hits(
    graph: VersionedGraph, request: pb.ComputeReachableRequest, found: Reach
) -> Iterator[pb.ComputeReachableResponse]:
    """Yield the messages of an answer. The first node is the requested one."""
    nodes, costs, previous = found.nodes[1:], found.distances[1:], found.previous[1:]
    first = pb.ComputeReachableResponse(total=len(nodes), partitions=_by_partition(graph, nodes, costs))
    shown = 0 if request.counts_only else len(nodes)
    for begin in range(0, max(shown, 1), HITS_PER_MESSAGE):
        some = slice(begin, min(begin + HITS_PER_MESSAGE, shown))
        message = first if begin == 0 else pb.ComputeReachableResponse()
        message.graph, message.version, message.node = graph.name, graph.version, request.node
        numbers = nodes[some].tolist()
        rows = zip(
            node_ids(graph, numbers),
            costs[some].tolist(),
            partition_names(graph, numbers),
            node_ids(graph, previous[some].tolist()),
            strict=True,
        )
        for node, cost, partition, before in rows:
            message.hits.add(node=node, cost=cost, partition=partition, previous=before)
        yield message


def _by_partition(graph: VersionedGraph, nodes: Int32Array, costs: Float64Array) -> list[plan_pb2.PartitionHits]:
    """Count the hits, which are sorted by cost, in each partition: the most first."""
    known = nodes < graph.node_count
    partitions = np.full(len(nodes), -1, np.int32)
    partitions[known] = graph.directory.partition_of_many(nodes[known])
    numbers, first, counts = np.unique(partitions, return_index=True, return_counts=True)
    names = graph.directory.partition_names
    rows = sorted(zip((-counts).tolist(), costs[first].tolist(), numbers.tolist(), strict=True))
    return [
        plan_pb2.PartitionHits(partition=names[number] if number >= 0 else "", hits=-minus, cost=cost)
        for minus, cost, number in rows
    ]


def _affected(graph: VersionedGraph, losses: list[_Loss]) -> Iterator[pb.ComputeBlastRadiusResponse]:
    """Yield the messages of an answer."""
    lost = sum(int(np.count_nonzero(~np.isfinite(loss.after))) for loss in losses)
    message = pb.ComputeBlastRadiusResponse(graph=graph.name, version=graph.version, lost=lost)
    message.dearer = sum(len(loss.after) for loss in losses) - lost
    message.sources.extend(node_ids(graph, [loss.source for loss in losses]))
    for loss, source in zip(losses, list(message.sources), strict=True):
        for begin in range(0, len(loss.nodes), HITS_PER_MESSAGE):
            some = slice(begin, begin + HITS_PER_MESSAGE)
            numbers = loss.nodes[some].tolist()
            rows = zip(
                node_ids(graph, numbers),
                loss.before[some].tolist(),
                loss.after[some].tolist(),
                partition_names(graph, numbers),
                strict=True,
            )
            for node, before, after, partition in rows:
                message.affected.add(
                    source=source, node=node, cost_before=before, cost_after=after, partition=partition
                )
            if len(message.affected) >= HITS_PER_MESSAGE:
                yield message
                message = pb.ComputeBlastRadiusResponse(graph=graph.name, version=graph.version)
    if message.affected or message.sources or not losses:
        yield message
