"""A log for events that any caller can cause by the thousand: one line at intervals, with the number left out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

LINE_INTERVAL_S: Final = 1.0
"""Seconds between two lines: an operator sees that the events continue, and the disk does not fill."""


class LimitedLog:
    """Writes at most one line in `interval_s` seconds; a line has the number of events left out before it."""

    def __init__(
        self,
        log: FilteringBoundLogger,
        interval_s: float = LINE_INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._interval_s = interval_s
        self._clock = clock
        self._next_s = float("-inf")
        self._suppressed = 0

    def info(self, event: str, **facts: Any) -> None:
        """Write the line, or count the event as left out."""
        now_s = self._clock()
        if now_s < self._next_s:
            self._suppressed += 1
            return
        self._next_s = now_s + self._interval_s
        self._log.info(event, suppressed=self._suppressed, **facts)
        self._suppressed = 0
