"""Results of `PlanService`: plans, neighbours and rows of patterns, as frozen values.

Costs have the unit of the edges' costs. Versions count up from 1 with each load of a graph.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from planmesh.errors import PlanmeshError

if TYPE_CHECKING:
    from planmesh.v1 import plan_pb2


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


@dataclass(frozen=True)
class Plan:
    """The exact cheapest path on one version of a graph.

    Steps and partitions are decoded on first use: a caller that needs the cost only does not pay for 700 steps.
    """

    graph: str
    version: int
    start: str
    goal: str
    cost: float
    """The sum of the steps' costs."""
    cached: bool
    """The coordinator had this answer already."""
    trace_id: str
    """32 hexadecimal digits."""
    _message: plan_pb2.Plan = field(repr=False, compare=False)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """From start to goal; none when start equals goal."""
        return tuple(
            [Step(s.source, s.target, s.cost, s.source_partition, s.target_partition) for s in self._message.steps]
        )

    @cached_property
    def partitions(self) -> tuple[str, ...]:
        """Names of the partitions that the path touches, in the order of the first visit."""
        return tuple(self._message.partitions)

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
