"""Where a load is: its phase, what is done of it, how long each phase took, and how long the rest may take."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from planmesh.telemetry import names
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.tracing import Telemetry
from planmesh.v1 import graph_pb2

SPANS: Final = {
    "read": names.SPAN_INGEST_READ,
    "partition": names.SPAN_INGEST_PARTITION,
    "index": names.SPAN_INGEST_INDEX,
    "overlay": names.SPAN_INGEST_OVERLAY,
    "publish": names.SPAN_INGEST_PUBLISH,
}
"""The phases in their order, and their spans."""

PHASE_SHARES: Final[Mapping[str, float]] = {
    "read": 0.10,
    "partition": 0.05,
    "index": 0.52,
    "overlay": 0.32,
    "publish": 0.01,
}
"""What part of a load each phase usually takes (of service-like graphs of 1 M and 10 M nodes, on two cores); how long
phases that have not begun may take is guessed by it."""

SHARE_DONE_MIN: Final = 0.02
"""Share of a phase from which on its own speed tells more than the phases before it."""

log = get_logger(__name__)


def estimate_left_s(
    phase: str, elapsed_s: float, share_done: float, share_at_start: float, seconds: Mapping[str, float]
) -> float | None:
    """Return how long a load will take yet, None when nothing can be said.

    The phase under way began `elapsed_s` ago at `share_at_start` (more than 0 in a resumed build) and is at
    `share_done`; `seconds` holds what the phases before it took. The rest of this phase follows from its own speed,
    and before there is one from the phases before it; later phases follow from their usual share of a load.
    """
    phases = list(PHASE_SHARES)
    later = sum(PHASE_SHARES[one] for one in phases[phases.index(phase) + 1 :])
    advanced = share_done - share_at_start
    if advanced >= SHARE_DONE_MIN:
        whole_s = elapsed_s / advanced
        return whole_s * (1.0 - share_done) + whole_s * later / PHASE_SHARES[phase]
    known = [one for one in phases[: phases.index(phase)] if one in seconds]
    if not known:
        return None
    share_s = sum(seconds[one] for one in known) / sum(PHASE_SHARES[one] for one in known)
    return max(0.0, share_s * PHASE_SHARES[phase] - elapsed_s) + share_s * later


class LoadProgress:
    """Written by one load, read by GetGraph; plain numbers only, so threads may write them."""

    def __init__(self, graph: str, telemetry: Telemetry, *, resumed: bool = False, started_unix_s: float = 0.0) -> None:
        self._graph = graph
        self._telemetry = telemetry
        self.resumed = resumed
        self.sealed = resumed
        """All rows are received, and the build does not need its caller."""
        self.started_unix_s = started_unix_s or time.time()
        self._started_at = Timestamp()
        self._started_at.FromNanoseconds(int(self.started_unix_s * 1e9))
        self._phase = "read"
        self._phase_began_s = time.perf_counter()
        self._done = 0
        self._total = 0
        self._share = 0.0
        self._share_at_start = 0.0
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str, total: int = 0) -> Iterator[None]:
        """Time a phase, in a span of its own. A phase that is entered twice adds up."""
        self._phase, self._done, self._total, self._share, self._share_at_start = name, 0, total, 0.0, 0.0
        started_s = self._phase_began_s = time.perf_counter()
        with self._telemetry.tracer.start_as_current_span(SPANS[name]) as span:
            span.set_attribute(names.GRAPH, self._graph)
            yield
        seconds = time.perf_counter() - started_s
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        log.info("phase finished", graph=self._graph, phase=name, seconds=round(seconds, 3), done=self._done)

    def begin_at(self, done: int, share: float) -> None:
        """Say that a phase begins with a part of it done before."""
        self._done, self._share, self._share_at_start = done, share, share

    def advance(self, done: int, total: int | None = None, share: float | None = None) -> None:
        """Say how many units of the phase are done, and which share of its work that is, if not done / total."""
        self._done = done
        if total is not None:
            self._total = total
        if share is not None:
            self._share = share
        elif self._total:
            self._share = done / self._total

    def remaining_s(self) -> float | None:
        """Return how long the load may take yet; see `estimate_left_s`."""
        elapsed_s = time.perf_counter() - self._phase_began_s
        return estimate_left_s(self._phase, elapsed_s, self._share, self._share_at_start, self.seconds)

    def text(self) -> str:
        """Return phase and progress in words."""
        return f"{self._phase}, {self._done} of {self._total}" if self._total else self._phase

    def message(self) -> graph_pb2.LoadProgress:
        """Return what GetGraph tells."""
        return graph_pb2.LoadProgress(
            phase=self._phase,
            done=self._done,
            total=self._total,
            started_at=self._started_at,
            remaining_s=self.remaining_s(),
            resumed=self.resumed,
        )

    def times(self) -> list[graph_pb2.PhaseTime]:
        """Return what the report tells."""
        return [graph_pb2.PhaseTime(phase=name, seconds=self.seconds.get(name, 0.0)) for name in SPANS]
