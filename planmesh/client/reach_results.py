"""Results of reachability: hits of `reachable`, and what `blast_radius` says a failure takes away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isinf
from typing import Any, Final, Literal, NamedTuple

from planmesh.client.core import Pair, avoided, texts, unsigned, version_fields
from planmesh.errors import InternalError, InvalidRequest
from planmesh.v1 import plan_pb2

ReachDirection = Literal["out", "in"]

_DIRECTIONS: Final[dict[str, plan_pb2.Direction.ValueType]] = {
    "out": plan_pb2.DIRECTION_OUT,
    "in": plan_pb2.DIRECTION_IN,
}


class Hit(NamedTuple):
    """A node that is reached, with the cost of its cheapest path."""

    node: str
    cost: float
    partition: str
    previous: str
    """The node beside it on a cheapest path, towards the requested node: a hit too, or the requested node."""


class PartitionHits(NamedTuple):
    """The number of hits in a partition, and their least cost."""

    partition: str
    hits: int
    cost: float


@dataclass(frozen=True, slots=True)
class Reachable:
    """What a node reaches, or what reaches it, on one version of a graph."""

    graph: str
    version: int
    node: str
    hits: tuple[Hit, ...]
    """Sorted by cost; none if only counts were asked for."""
    total: int
    partitions: tuple[PartitionHits, ...]
    """The most hits first."""
    trace_id: str

    def path(self, node: str) -> tuple[str, ...]:
        """The nodes of a cheapest path between the requested node and a hit, the requested node first.

        Raises InvalidRequest for a node that is neither.
        """
        previous = {hit.node: hit.previous for hit in self.hits}
        nodes = [node]
        while nodes[-1] != self.node:
            if nodes[-1] not in previous:
                raise InvalidRequest(f"node: expected a hit, got {node!r}", field="node")
            nodes.append(previous[nodes[-1]])
        return tuple(reversed(nodes))


class Affected(NamedTuple):
    """A node whose paths from a source a failure makes dearer, or takes away."""

    source: str
    node: str
    cost_before: float
    cost_after: float
    """Infinite if no path is left."""
    partition: str

    @property
    def is_lost(self) -> bool:
        """Whether no path is left."""
        return isinf(self.cost_after)


@dataclass(frozen=True, slots=True)
class BlastRadius:
    """What a failure takes away from some sources, on one version of a graph."""

    graph: str
    version: int
    sources: tuple[str, ...]
    affected: tuple[Affected, ...]
    """By source, the lost ones first."""
    lost: int
    dearer: int
    trace_id: str


def reachable_request(
    graph: str,
    node: str,
    direction: str,
    max_cost: float | None,
    max_hits: int,
    counts_only: bool,
    min_version: int,
    at_version: int | None,
    avoid: tuple[Sequence[str], Sequence[Pair], Sequence[str]],
) -> plan_pb2.GetReachableRequest:
    """The request. Raises InvalidRequest for what no field can hold."""
    if direction not in _DIRECTIONS:
        raise InvalidRequest(f"direction: expected out or in, got {direction!r}", field="direction")
    return plan_pb2.GetReachableRequest(
        graph=graph,
        node=node,
        direction=_DIRECTIONS[direction],
        max_cost=max_cost,
        max_hits=unsigned("max_hits", max_hits, bits=32),
        counts_only=counts_only,
        avoid=avoided(*avoid),
        **version_fields(min_version, at_version),
    )


def blast_radius_request(
    graph: str,
    nodes: Sequence[str],
    edges: Sequence[Pair],
    sources: Sequence[str],
    min_growth: float | None,
    max_cost: float | None,
    max_hits: int,
    min_version: int,
    at_version: int | None,
) -> plan_pb2.GetBlastRadiusRequest:
    """The request. Raises InvalidRequest for what no field can hold."""
    failed = avoided(nodes, edges, ()) or plan_pb2.Avoid()
    fields: dict[str, Any] = version_fields(min_version, at_version)
    return plan_pb2.GetBlastRadiusRequest(
        graph=graph,
        nodes=failed.nodes,
        edges=failed.edges,
        sources=texts("sources", sources),
        min_growth=min_growth,
        max_cost=max_cost,
        max_hits=unsigned("max_hits", max_hits, bits=32),
        **fields,
    )


def reachable_of(messages: Iterable[plan_pb2.GetReachableResponse]) -> Reachable:
    """The answer of all messages. Raises InternalError if there are none."""
    received = list(messages)
    if not received:
        raise InternalError("expected an answer of one message at least, got none")
    first = received[0]
    return Reachable(
        graph=first.graph,
        version=first.version,
        node=first.node,
        hits=tuple([Hit(h.node, h.cost, h.partition, h.previous) for message in received for h in message.hits]),
        total=first.total,
        partitions=tuple([PartitionHits(p.partition, p.hits, p.cost) for p in first.partitions]),
        trace_id=first.trace_id,
    )


def blast_radius_of(messages: Iterable[plan_pb2.GetBlastRadiusResponse]) -> BlastRadius:
    """The answer of all messages. Raises InternalError if there are none."""
    received = list(messages)
    if not received:
        raise InternalError("expected an answer of one message at least, got none")
    first = received[0]
    return BlastRadius(
        graph=first.graph,
        version=first.version,
        sources=tuple(first.sources),
        affected=tuple(
            [
                Affected(one.source, one.node, one.cost_before, one.cost_after, one.partition)
                for message in received
                for one in message.affected
            ]
        ),
        lost=first.lost,
        dearer=first.dearer,
        trace_id=first.trace_id,
    )
