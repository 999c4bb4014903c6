"""Times and counts of a plan's phases, for its explanation, the metrics and the trace."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry.trace import Link, Span

from planmesh.telemetry import names
from planmesh.telemetry.tracing import Telemetry
from planmesh.v1 import plan_pb2
from services.coordinator.dispatcher import Answer
from services.coordinator.versioned_graph import VersionedGraph


@dataclass(slots=True)
class Phase:
    """One phase of a plan. Its counts grow while it runs; `duration_s` is set when it ends."""

    name: str
    duration_s: float = 0.0
    settled_nodes: int = 0
    tasks: int = 0
    batch_sizes: list[int] = field(default_factory=list)
    hedges: int = 0

    def note(self, answer: Answer) -> None:
        """Add the tasks, batch sizes and hedges of a shard's answer."""
        self.tasks += answer.tasks
        self.batch_sizes += answer.batch_sizes
        self.hedges += answer.hedges


class PhaseLog:
    """The phases of one plan, in the order in which they began."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._begun_s = time.perf_counter()
        self._phases: list[Phase] = []
        self.retries = 0
        self._unmerged_changes = self._opened = 0

    def note_changes(self, graph: VersionedGraph, opened: int) -> None:
        """Record how much has changed since the base, and how many partitions were searched edge by edge."""
        self._unmerged_changes = 0 if graph.changes is None else graph.changes.count
        self._opened = opened

    @contextmanager
    def phase(self, name: str, links: Sequence[Link] = ()) -> Iterator[Phase]:
        """Time the block as a phase, with a span (and `links` from it) if traces are recorded, and as a metric."""
        phase = Phase(name)
        self._phases.append(phase)
        begun_s = time.perf_counter()
        try:
            if self._telemetry.recording:
                with self._telemetry.tracer.start_as_current_span(name, links=links, record_exception=False) as span:
                    yield phase
                    _describe(span, phase)
            else:
                yield phase
        finally:
            phase.duration_s = time.perf_counter() - begun_s
            if self._telemetry.measuring:
                self._telemetry.instruments.phase_duration.record(phase.duration_s, {names.PHASE: name})

    def fork(self) -> PhaseLog:
        """Return a log with the phases so far, for some of the plans of a batch."""
        other = PhaseLog(self._telemetry)
        other._begun_s, other._phases, other.retries = self._begun_s, list(self._phases), self.retries
        return other

    def total_s(self) -> float:
        """Return the seconds since this object was created."""
        return time.perf_counter() - self._begun_s

    def explanation(self) -> plan_pb2.Explanation:
        """Return the phases so far and their totals as a protobuf message."""
        return plan_pb2.Explanation(
            total_ms=self.total_s() * 1e3,
            phases=[
                plan_pb2.Phase(
                    name=phase.name.removeprefix("planmesh."),
                    duration_ms=phase.duration_s * 1e3,
                    settled_nodes=phase.settled_nodes,
                    tasks=phase.tasks,
                )
                for phase in self._phases
            ],
            tasks=sum(phase.tasks for phase in self._phases),
            batch_sizes=[size for phase in self._phases for size in phase.batch_sizes],
            retries=self.retries,
            hedges=sum(phase.hedges for phase in self._phases),
            settled_nodes=sum(phase.settled_nodes for phase in self._phases),
            unmerged_changes=self._unmerged_changes,
            opened_partitions=self._opened,
        )


def _describe(span: Span, phase: Phase) -> None:
    span.set_attribute(names.SETTLED_NODES, phase.settled_nodes)
    if phase.batch_sizes:
        span.set_attribute(names.BATCH_SIZE, phase.batch_sizes)
