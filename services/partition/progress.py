"""Where a load is: its phase, what is done of it, and how long each phase took."""

from __future__ import annotations

import time
from collections.abc import Iterator
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

log = get_logger("load")


class LoadProgress:
    """Written by one load, read by GetGraph; whole numbers only, so threads may write them."""

    def __init__(self, graph: str, telemetry: Telemetry) -> None:
        self._graph = graph
        self._telemetry = telemetry
        self._started_at = Timestamp()
        self._started_at.GetCurrentTime()
        self._phase = "read"
        self._done = 0
        self._total = 0
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str, total: int = 0) -> Iterator[None]:
        """Time a phase, in a span of its own. A phase that is entered twice adds up."""
        self._phase, self._done, self._total = name, 0, total
        started_s = time.perf_counter()
        with self._telemetry.tracer.start_as_current_span(SPANS[name]) as span:
            span.set_attribute(names.GRAPH, self._graph)
            yield
        seconds = time.perf_counter() - started_s
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        log.info("phase finished", graph=self._graph, phase=name, seconds=round(seconds, 3), done=self._done)

    def advance(self, done: int, total: int | None = None) -> None:
        """Say how much of the phase is done."""
        self._done = done
        if total is not None:
            self._total = total

    def message(self) -> graph_pb2.LoadProgress:
        """Return what GetGraph tells."""
        return graph_pb2.LoadProgress(
            phase=self._phase, done=self._done, total=self._total, started_at=self._started_at
        )

    def times(self) -> list[graph_pb2.PhaseTime]:
        """Return what the report tells."""
        return [graph_pb2.PhaseTime(phase=name, seconds=self.seconds.get(name, 0.0)) for name in SPANS]
