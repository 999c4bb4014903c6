"""Results of `PlanService`: plans, neighbours and rows of patterns, as frozen values.

Costs have the unit of the edges' costs. Versions count up from 1 with each load and each update of a graph.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from planmesh.errors import InvalidRequest, PlanmeshError

if TYPE_CHECKING:
    from planmesh.v1 import plan_pb2


class Detail(StrEnum):
    """How much of a plan is asked for. The mesh does only the work that it needs."""

    COST = "cost"
    """The cost and the partitions. No segment of the path is unpacked."""
    NODES = "nodes"
    """All that a plan has, sent without repetition: the client derives the steps from the nodes."""
    STEPS = "steps"
    """All that a plan has, as steps."""


class PathKeywords(TypedDict, total=False):
    """What a path avoids and passes, what it may cost, and its alternatives."""

    avoid_nodes: Sequence[str]
    """At most 10,000 ids of nodes that the path does not use."""
    avoid_edges: Sequence[tuple[str, str]]
    """At most 10,000 edges (source, target) that the path does not use."""
    avoid_partitions: Sequence[str]
    """At most 100 names of partitions none of whose nodes the path uses."""
    via: Sequence[str]
    """At most 16 ids of nodes that the path passes, in this order."""
    max_cost: float | None
    """A path that costs more is refused: NoPath."""
    alternatives: int
    """How many further paths the plan shall have, at most 20."""
    max_overlap: float | None
    """The share of an alternative's cost, 0 to 1, that may lie on edges of any cheaper path; None: no bound."""


class PartitionRun(NamedTuple):
    """Consecutive nodes of a plan that lie in one partition."""

    partition: str
    nodes: int
    """Their number, at least 1."""


class Step(NamedTuple):
    """One edge of a plan: its ends, its cost, and the names of the partitions of both ends."""

    source: str
    target: str
    cost: float
    source_partition: str
    target_partition: str


class Phase(NamedTuple):
    """One stage of finding a plan."""

    name: str
    """cache, locate, local_search, overlay, unpack or merge."""
    duration_ms: float
    settled_nodes: int
    tasks: int


class Explanation(NamedTuple):
    """How a plan was found."""

    total_ms: float
    """From the coordinator's receipt of the request to its answer."""
    phases: tuple[Phase, ...]
    tasks: int
    """Tasks that carried work for this plan. A task that carried other plans' work too is counted once."""
    batch_sizes: tuple[int, ...]
    """Items in each of these tasks."""
    retries: int
    """Restarts on a newer version, or after damaged data was found."""
    hedges: int
    """Repeats of work whose reply did not arrive within the hedge time."""
    settled_nodes: int
    unmerged_changes: int = 0
    """Changes since the version of the indexes that the answer takes into account."""
    opened_partitions: int = 0
    """Partitions that were searched edge by edge, because something in them has changed or is avoided."""


@dataclass(frozen=True)
class Plan:
    """The exact cheapest path on one version of a graph.

    A plan of detail NODES or STEPS has `nodes`, `step_costs`, `partition_runs` and `steps`. They are decoded on first
    use. A plan of detail COST has none of them, and each raises InvalidRequest.
    """

    graph: str
    version: int
    start: str
    goal: str
    cost: float
    """The sum of the steps' costs, in their order. With detail COST, the costs are added in another order: if they are
    not whole numbers, it may differ by rounding."""
    cached: bool
    """The coordinator had this answer already."""
    trace_id: str
    """32 hexadecimal digits."""
    detail: Detail
    """How much of the plan the answer has."""
    _message: plan_pb2.Plan = field(repr=False, compare=False)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """From start to goal; none when start equals goal. Raises InvalidRequest for a plan of detail COST."""
        self._check_has("steps")
        if self.detail is Detail.STEPS:
            return tuple(
                [Step(s.source, s.target, s.cost, s.source_partition, s.target_partition) for s in self._message.steps]
            )
        nodes, partitions = self.nodes, list(self._node_partitions())
        return tuple(map(Step, nodes, nodes[1:], self.step_costs, partitions, partitions[1:]))

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """Ids from start to goal, each once, at least one. Raises InvalidRequest for a plan of detail COST."""
        self._check_has("nodes")
        if self.detail is Detail.STEPS:
            return (self.start, *(step.target for step in self._message.steps))
        return tuple(self._message.nodes)

    @cached_property
    def step_costs(self) -> tuple[float, ...]:
        """Cost of each step, one less than there are nodes. Raises InvalidRequest for a plan of detail COST."""
        self._check_has("step_costs")
        if self.detail is Detail.STEPS:
            return tuple([step.cost for step in self._message.steps])
        return tuple(self._message.step_costs)

    @cached_property
    def partition_runs(self) -> tuple[PartitionRun, ...]:
        """The partitions of the nodes, from start to goal. Raises InvalidRequest for a plan of detail COST."""
        self._check_has("partition_runs")
        grouped = groupby(self._node_partitions())
        return tuple([PartitionRun(partition, sum(1 for _ in nodes)) for partition, nodes in grouped])

    @cached_property
    def partitions(self) -> tuple[str, ...]:
        """Names of the partitions that the path touches, in the order of the first visit.

        With detail COST, the path may have loops of cost 0 that other details leave out.
        """
        return tuple(self._message.partitions)

    def _node_partitions(self) -> Iterator[str]:
        """Yield the name of the partition of each node."""
        message = self._message
        if self.detail is Detail.STEPS:
            yield message.steps[0].source_partition if message.steps else message.partitions[0]
            yield from (step.target_partition for step in message.steps)
            return
        for position, length in zip(message.run_partitions, message.run_lengths, strict=True):
            yield from [message.partitions[position]] * length

    def _check_has(self, name: str) -> None:
        if self.detail is Detail.COST:
            raise InvalidRequest(
                f"{name}: expected a plan of detail 'nodes' or 'steps', got one of detail 'cost'; ask for more detail",
                field="detail",
            )

    @cached_property
    def alternatives(self) -> tuple[Plan, ...]:
        """Further paths without loops, cheapest first, if the request asked for them."""
        return tuple([replace(self, cost=other.cost, _message=other) for other in self._message.alternatives])

    @property
    def alternatives_bounded(self) -> bool:
        """Whether the search for alternatives ended at a bound, so that there may be more that share little enough."""
        return self._message.alternatives_bounded

    @cached_property
    def explanation(self) -> Explanation | None:
        """How the plan was found, if the request asked for that."""
        if not self._message.HasField("explanation"):
            return None
        found = self._message.explanation
        return Explanation(
            total_ms=found.total_ms,
            phases=tuple(Phase(p.name, p.duration_ms, p.settled_nodes, p.tasks) for p in found.phases),
            tasks=found.tasks,
            batch_sizes=tuple(found.batch_sizes),
            retries=found.retries,
            hedges=found.hedges,
            settled_nodes=found.settled_nodes,
            unmerged_changes=found.unmerged_changes,
            opened_partitions=found.opened_partitions,
        )


@dataclass(frozen=True, slots=True)
class PairAnswer:
    """The answer to one pair of a batch: a plan or an error."""

    index: int
    """Position of the pair in the request, from 0."""
    plan: Plan | None
    error: PlanmeshError | None

    def result(self) -> Plan:
        """The plan; raises the error when there is none."""
        if self.plan is None:
            assert self.error is not None
            raise self.error
        return self.plan


@dataclass(frozen=True, slots=True)
class Matrix:
    """The costs of the cheapest paths from every source to every target, on one version of a graph.

    numpy reads a row without a copy: `numpy.frombuffer(matrix.rows[0])`.
    """

    graph: str
    version: int
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    rows: tuple[array[float], ...]
    """A row for each source, an `array.array` of type "d" (float64) with a cost for each target: infinite where there
    is no path."""
    trace_id: str

    def cost(self, source: str, target: str) -> float:
        """The cost from one of the sources to one of the targets. Raises ValueError for an id that is neither."""
        return self.rows[self.sources.index(source)][self.targets.index(target)]


class Neighbor(NamedTuple):
    """A node near another."""

    node: str
    hops: int
    """The fewest edges from the other node, at least 1."""
    cost: float
    """The least cost of any path with at most `depth` edges."""
    partition: str


@dataclass(frozen=True, slots=True)
class Neighbors:
    """Every node within some edges of a node, by hops, then cost, then id."""

    graph: str
    version: int
    node: str
    neighbors: tuple[Neighbor, ...]
    trace_id: str


@dataclass(frozen=True, slots=True)
class PatternRows:
    """The rows that a graph's own store returned for a pattern."""

    graph: str
    store: str
    """The kind of store, such as "neo4j"."""
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    """Values as JSON has them, in the order of `columns`; a node is `{"labels": [...], "properties": {...}}`."""
    trace_id: str
