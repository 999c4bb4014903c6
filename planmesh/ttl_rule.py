"""A cache that hits too seldom keeps its answers longer."""

from __future__ import annotations

from typing import Final

from planmesh.telemetry.logs import get_logger

HIT_RATE_MIN: Final = 0.70
"""Below it the time to live is raised."""

WINDOW: Final = 1_000
"""Questions that are looked at together: a rate of fewer says little."""

FACTOR: Final = 2.0
"""Of one raise; the next is decided on a window of its own, so that a raise can show its effect."""

log = get_logger(__name__)


class TtlRule:
    """Looks at each WINDOW of questions, and raises the time to live while their hit rate is under HIT_RATE_MIN.

    It never goes beyond `ttl_s_max`, and never down. With `ttl_s_max` at `ttl_s` or below, or a `ttl_s` of 0 (nothing
    is kept), it does nothing. Questions that are asked once only miss whatever the time: then the bound ends it.
    """

    def __init__(self, cache: str, ttl_s: float, ttl_s_max: float) -> None:
        self._cache = cache
        self._ttl_s_max = ttl_s_max
        self._asked = 0
        self._hits = 0
        self.ttl_s = ttl_s
        """The time to live now, in seconds."""

    def note(self, *, hit: bool) -> None:
        """Count a question, and decide when the window is full."""
        self._asked += 1
        self._hits += hit
        if self._asked < WINDOW:
            return
        hit_rate = self._hits / self._asked
        self._asked = self._hits = 0
        if hit_rate >= HIT_RATE_MIN or not 0 < self.ttl_s < self._ttl_s_max:
            return
        before_s = self.ttl_s
        self.ttl_s = min(self._ttl_s_max, before_s * FACTOR)
        log.info(
            "time to live raised",
            cache=self._cache,
            hit_rate=round(hit_rate, 3),
            before_s=before_s,
            ttl_s=self.ttl_s,
            bound_s=self._ttl_s_max,
        )
