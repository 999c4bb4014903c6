"""The progress of a load: its phase, how much of it is done, how long phases took, and an estimate of the rest."""

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
"""Usual share of each phase in the time of a load, to estimate phases that have not begun. It was measured with
service-like graphs of 1 M and 10 M nodes on two cores."""

SHARE_DONE_MIN: Final = 0.02
"""Share of a phase from which its own speed is a better basis for the estimate than the earlier phases."""

log = get_logger(__name__)


def estimate_left_s(
    phase: str, elapsed_s: float, share_done: float, share_at_start: float, seconds: Mapping[str, float]
) -> float | None:
    """Return an estimate of a load's remaining seconds, None when there is no basis for one.

    The current phase began `elapsed_s` ago at `share_at_start` (more than 0 in a resumed build) and is at `share_done`.
    `seconds` holds the durations of the earlier phases. The rest of the current phase is estimated from its own speed,
    or, up to SHARE_DONE_MIN, from the earlier phases; later phases are estimated from PHASE_SHARES.
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
    """The progress of one load, for GetGraph. It consists of plain numbers, so threads may update it."""

    def __init__(self, graph: str, telemetry: Telemetry, *, resumed: bool = False, started_unix_s: float = 0.0) -> None:
        self._graph = graph
        self._telemetry = telemetry
        self.resumed = resumed
        self.sealed = resumed
        """Whether all rows are received and sealed, so that the build no longer needs its caller."""
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
        """Time the block as a phase, in a separate span. The times of a phase that is entered twice add up."""
        self._phase, self._done, self._total, self._share, self._share_at_start = name, 0, total, 0.0, 0.0
        started_s = self._phase_began_s = time.perf_counter()
        with self._telemetry.tracer.start_as_current_span(SPANS[name]) as span:
            span.set_attribute(names.GRAPH, self._graph)
            yield
        seconds = time.perf_counter() - started_s
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        log.info("phase finished", graph=self._graph, phase=name, seconds=round(seconds, 3), done=self._done)

    def begin_at(self, done: int, share: float) -> None:
        """Record that `done` units, a `share` of the phase, were done before an interruption."""
        self._done, self._share, self._share_at_start = done, share, share

    def advance(self, done: int, total: int | None = None, share: float | None = None) -> None:
        """Record how many units of the phase are done, and their share of its work if that is not done / total."""
        self._done = done
        if total is not None:
            self._total = total
        if share is not None:
            self._share = share
        elif self._total:
            self._share = done / self._total

    def remaining_s(self) -> float | None:
        """Return an estimate of the remaining seconds of the load, or None; see `estimate_left_s`."""
        elapsed_s = time.perf_counter() - self._phase_began_s
        return estimate_left_s(self._phase, elapsed_s, self._share, self._share_at_start, self.seconds)

    def text(self) -> str:
        """Return phase and progress as text, for example "index, 3 of 64"."""
        return f"{self._phase}, {self._done} of {self._total}" if self._total else self._phase

    def message(self) -> graph_pb2.LoadProgress:
        """Return the progress for GetGraph."""
        return graph_pb2.LoadProgress(
            phase=self._phase,
            done=self._done,
            total=self._total,
            started_at=self._started_at,
            remaining_s=self.remaining_s(),
            resumed=self.resumed,
        )

    def times(self) -> list[graph_pb2.PhaseTime]:
        """Return the seconds of every phase for the report, 0 for phases that were not run."""
        return [graph_pb2.PhaseTime(phase=name, seconds=self.seconds.get(name, 0.0)) for name in SPANS]
