"""Computes when a copy without a reply is overdue, from the latencies of its shard's replies."""

from __future__ import annotations

from collections import deque
from typing import Final

LATENCIES_KEPT: Final = 256
"""Latencies of the last replies that determine the hedge time: enough for a 95th percentile, few enough to follow a
change soon."""

HEDGE_QUANTILE: Final = 0.95
"""Quantile of the kept latencies: one slow reply in twenty does not raise the hedge time; more do."""

HEDGE_FACTOR: Final = 4.0
"""Ratio of the hedge time to that quantile: repeats stay rare, and each costs one duplicate at most."""

HEDGE_S_FIRST: Final = 2.0
"""Hedge time until enough replies have come: a cold worker has to map files first."""

HEDGE_S_MAX: Final = 10.0
"""Longest hedge time: four times the slowest batches, and less than the deadlines of patient callers."""

DOUBLINGS_MAX: Final = 64
"""A copy that waits in its queue for hours is looked for thousands of times; two to that power is no number."""

HEDGE_UPDATE_REPLIES: Final = 32
"""Replies after which the hedge time is computed again; a late reply causes that at once."""

BACK_OFF: Final = 2.0
"""Ratio of the hedge time to the latency of a late reply, before the first HEDGE_UPDATE_REPLIES replies."""


class HedgeTimes:
    """The hedge time of one shard, in seconds. Each reply counts with its own copy's latency, however late it is."""

    def __init__(self, floor_s: float) -> None:
        self._floor_s = floor_s
        self._latencies_s: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._noted = 0
        self.hedge_s = HEDGE_S_FIRST

    def note(self, latency_s: float) -> None:
        """Record a reply that came `latency_s` seconds after its copy was sent."""
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
        """Return the seconds after which copy number `attempt` (from 1) is overdue; they double with each attempt."""
        return min(HEDGE_S_MAX, self.hedge_s * 2.0 ** min(attempt - 1, DOUBLINGS_MAX))
