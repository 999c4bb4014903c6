"""What the client returns: plans and neighbours as frozen values.

Steps are made on first use: a caller that wants the cost of a plan does not pay for its 700 steps. Descriptions of
graphs, nodes, partitions and the mesh are returned as the messages of `planmesh.v1` (`graph_pb2.Graph`,
`graph_pb2.LoadReport`, ...): they are read once, by name, and have no cost worth saving.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from planmesh.errors import PlanmeshError
from planmesh.v1 import plan_pb2


class Step(NamedTuple):
    """One edge of a plan, and the partition of each end."""

    source: str
    target: str
    cost: float
    source_partition: str
    target_partition: str


class Phase(NamedTuple):
    """One stage of finding a plan."""

    name: str
    duration_ms: float
    settled_nodes: int
    tasks: int


class Explanation(NamedTuple):
    """How a plan was found."""

    total_ms: float
    phases: tuple[Phase, ...]
    tasks: int
    batch_sizes: tuple[int, ...]
    retries: int
    hedges: int
    settled_nodes: int


@dataclass(frozen=True)
class Plan:
    """The exact cheapest path on one version of a graph."""

    graph: str
    version: int
    start: str
    goal: str
    cost: float
    cached: bool
    trace_id: str
    message: plan_pb2.Plan = field(repr=False, compare=False)
    """The answer as it came."""

    @classmethod
    def of(cls, message: plan_pb2.Plan) -> Plan:
        """The plan of a message."""
        return cls(
            graph=message.graph,
            version=message.version,
            start=message.start,
            goal=message.goal,
            cost=message.cost,
            cached=message.cached,
            trace_id=message.trace_id,
            message=message,
        )

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """From start to goal; none when start equals goal."""
        return tuple(
            [Step(s.source, s.target, s.cost, s.source_partition, s.target_partition) for s in self.message.steps]
        )

    @cached_property
    def partitions(self) -> tuple[str, ...]:
        """Names of the partitions that the path touches, in the order of the first visit."""
        return tuple(self.message.partitions)

    @cached_property
    def explanation(self) -> Explanation | None:
        """How it was found, when that was asked for."""
        if not self.message.HasField("explanation"):
            return None
        told = self.message.explanation
        return Explanation(
            total_ms=told.total_ms,
            phases=tuple(Phase(p.name, p.duration_ms, p.settled_nodes, p.tasks) for p in told.phases),
            tasks=told.tasks,
            batch_sizes=tuple(told.batch_sizes),
            retries=told.retries,
            hedges=told.hedges,
            settled_nodes=told.settled_nodes,
        )


@dataclass(frozen=True, slots=True)
class PairAnswer:
    """The answer to one pair of a batch: a plan or an error."""

    index: int
    """Position of the pair in what was asked, from 0."""
    plan: Plan | None
    error: PlanmeshError | None

    def result(self) -> Plan:
        """The plan; raises the error when there is none."""
        if self.plan is None:
            assert self.error is not None
            raise self.error
        return self.plan


class Neighbor(NamedTuple):
    """A node near another."""

    node: str
    hops: int
    cost: float
    partition: str


@dataclass(frozen=True, slots=True)
class Neighbors:
    """Every node within some edges of a node, by hops, then cost, then id."""

    graph: str
    version: int
    node: str
    neighbors: tuple[Neighbor, ...]
    trace_id: str

    @classmethod
    def of(cls, message: plan_pb2.GetNeighborsResponse) -> Neighbors:
        """The neighbours of a message."""
        return cls(
            graph=message.graph,
            version=message.version,
            node=message.node,
            neighbors=tuple([Neighbor(n.node, n.hops, n.cost, n.partition) for n in message.neighbors]),
            trace_id=message.trace_id,
        )


class NodeSample(NamedTuple):
    """Ids drawn at random."""

    version: int
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PatternRows:
    """What a graph's own store answered to a pattern."""

    graph: str
    store: str
    """The kind of store, such as "neo4j"."""
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    """Values as JSON has them, in the order of `columns`; a node is `{"labels": [...], "properties": {...}}`."""
    trace_id: str

    @classmethod
    def of(cls, message: plan_pb2.MatchPatternResponse) -> PatternRows:
        """The rows of a message."""
        return cls(
            graph=message.graph,
            store=message.store,
            columns=tuple(message.columns),
            rows=tuple([tuple(orjson.loads(row)) for row in message.rows_json]),
            trace_id=message.trace_id,
        )
