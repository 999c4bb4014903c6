"""One wall clock for all processes of a mesh: that of Redis.

A task says until when somebody waits for it. Machines' own clocks do not agree on that: a worker whose clock is a
minute ahead would drop every task as too old. So whoever stamps a task and whoever reads it ask Redis for the time, as
they ask it for other things anyway, and between looks count on by the monotonic clock, which nobody sets.
"""

from __future__ import annotations

import time


class BrokerClock:
    """Seconds since the epoch by the clock of Redis. One thread may note, others read."""

    def __init__(self) -> None:
        self._ahead_s: float | None = None
        """Of the monotonic clock of this process."""

    def note(self, told: tuple[int, int], asked_at_s: float) -> None:
        """Take what TIME answered, (seconds, microseconds), to a question of `asked_at_s` of the monotonic clock.

        The answer is taken for the time in the middle of the question's way and its own, so a slow network shifts the
        clock by half of its delay at most.
        """
        seconds, microseconds = told
        middle_s = (asked_at_s + time.monotonic()) / 2
        self._ahead_s = seconds + microseconds / 1e6 - middle_s

    def unix_s(self) -> float:
        """The time now; by this machine's own clock as long as Redis was never asked."""
        ahead_s = self._ahead_s
        return time.time() if ahead_s is None else time.monotonic() + ahead_s
