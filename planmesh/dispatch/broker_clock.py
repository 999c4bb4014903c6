"""One wall clock for all processes of a mesh: the clock of Redis.

A task carries the deadline of its caller. The clocks of two machines differ: a worker whose clock is a minute ahead
would drop every task as expired. Processes that write or read deadlines therefore ask Redis for the time along with
their other requests. Between these requests they use the monotonic clock, which no administrator adjusts.
"""

from __future__ import annotations

import time


class BrokerClock:
    """Seconds since the epoch by the clock of Redis. One thread may call `note` while others call `unix_s`."""

    def __init__(self) -> None:
        self._ahead_s: float | None = None
        """Time of Redis minus the monotonic clock of this process; None before the first `note`."""

    def note(self, redis_time: tuple[int, int], asked_at_s: float) -> None:
        """Set the clock from a reply to Redis's TIME, (seconds, microseconds).

        `asked_at_s` is when the request was sent, by the monotonic clock. The reply is assumed to have been made
        halfway between sending and now, so a slow network shifts the clock by at most half of the round trip.
        """
        seconds, microseconds = redis_time
        middle_s = (asked_at_s + time.monotonic()) / 2
        self._ahead_s = seconds + microseconds / 1e6 - middle_s

    def unix_s(self) -> float:
        """Return the time now. Until the first `note`, it is the time of this machine's own clock."""
        ahead_s = self._ahead_s
        return time.time() if ahead_s is None else time.monotonic() + ahead_s
