"""When work without a reply is overdue, learned from the latencies of all replies of a shard."""

from __future__ import annotations

from collections import deque
from typing import Final

LATENCIES_KEPT: Final = 256
"""Of the last replies, from which the hedge time follows: enough for a 95th percentile, soon replaced."""

HEDGE_QUANTILE: Final = 0.95
"""Of the kept latencies: one slow reply in twenty does not move the hedge time, more do."""

HEDGE_FACTOR: Final = 4.0
"""Hedge time over that quantile: a repeat is rare, and costs a duplicate at most."""

HEDGE_S_FIRST: Final = 2.0
"""Hedge time until enough replies have come: a cold worker maps files first."""

HEDGE_S_MAX: Final = 10.0
"""Longest hedge time: four times the slowest batches, and less than the deadlines of patient callers."""

HEDGE_UPDATE_REPLIES: Final = 32
"""The hedge time is computed again after this many replies, and at once after a late one."""

BACK_OFF: Final = 2.0
"""Hedge time over the latency of a late reply, while there are fewer replies than make a distribution."""


class HedgeTimes:
    """The hedge time of one shard, in seconds. Every reply teaches its own copy's latency, however late it comes."""

    def __init__(self, floor_s: float) -> None:
        self._floor_s = floor_s
        self._latencies_s: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._noted = 0
        self.hedge_s = HEDGE_S_FIRST

    def note(self, latency_s: float) -> None:
        """Learn from a reply that came `latency_s` after its copy was sent."""
        self._latencies_s.append(latency_s)
        self._noted += 1
        late = latency_s > self.hedge_s
        if self._noted < HEDGE_UPDATE_REPLIES:
            if late:
                self.hedge_s = min(HEDGE_S_MAX, BACK_OFF * latency_s)
        elif late or self._noted % HEDGE_UPDATE_REPLIES == 0:
            slow_s = sorted(self._latencies_s)[int(HEDGE_QUANTILE * len(self._latencies_s))]
            self.hedge_s = min(HEDGE_S_MAX, max(self._floor_s, HEDGE_FACTOR * slow_s))

    def delay_s(self, attempt: int) -> float:
        """Seconds after which the `attempt`-th copy (from 1) of some work is overdue: twice as long each time."""
        return min(HEDGE_S_MAX, self.hedge_s * 2.0 ** (attempt - 1))
