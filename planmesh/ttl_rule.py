"""Raises the time to live of a cache whose hit rate is too low."""

from __future__ import annotations

from typing import Final

from planmesh.telemetry.logs import get_logger

HIT_RATE_MIN: Final = 0.70
"""Hit rate below which the time to live is raised."""

WINDOW: Final = 1_000
"""Lookups over which one hit rate is measured: a rate over fewer says little."""

FACTOR: Final = 2.0
"""Factor of one raise. The next raise is decided on a new window, so that this one can show its effect."""

log = get_logger(__name__)


class TtlRule:
    """Raises the time to live after each WINDOW of lookups with a hit rate below HIT_RATE_MIN.

    It never exceeds `ttl_s_max` and never lowers the time. It does nothing if `ttl_s_max` is not above `ttl_s`, or if
    `ttl_s` is 0 (the cache keeps nothing). Keys that are looked up only once miss whatever the time to live is; for
    them `ttl_s_max` ends the raises.
    """

    def __init__(self, cache: str, ttl_s: float, ttl_s_max: float) -> None:
        self._cache = cache
        self._ttl_s_max = ttl_s_max
        self._asked = 0
        self._hits = 0
        self.ttl_s = ttl_s
        """The current time to live, in seconds."""

    def note(self, *, hit: bool) -> None:
        """Count one lookup; when the window is full, raise the time to live if necessary."""
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
