"""A deadline that crosses every hop.

grpc.aio does not pass deadlines on, so every downstream call is handed `timeout=deadline.remaining_s()`. Tasks carry
the moment by the clock of Redis (planmesh.dispatch.broker_clock).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import grpc.aio

from planmesh.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment after which nobody waits for the answer. Inside a process it is held by the monotonic clock."""

    at_s: float
    """`time.monotonic()` of the moment."""

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    @classmethod
    def from_context(cls, context: grpc.aio.ServicerContext[Any, Any], *, default_s: float, max_s: float) -> Deadline:
        """The deadline of a call: what the caller set, at most `max_s`; `default_s` from now when it set none."""
        remaining_s = context.time_remaining()
        return cls.after(default_s if remaining_s is None else min(float(remaining_s), max_s))

    @property
    def passed(self) -> bool:
        """Nobody waits any more."""
        return time.monotonic() >= self.at_s

    def remaining_s(self) -> float:
        """Seconds left, 0 when it has passed."""
        return max(0.0, self.at_s - time.monotonic())

    def with_margin(self, margin_s: float) -> Deadline:
        """The deadline `margin_s` earlier: a call downstream must end in time for its caller to still say why."""
        return Deadline(self.at_s - margin_s)

    def with_share_margin(self, share: float, margin_s_max: float) -> Deadline:
        """The deadline earlier by `share` of the time left, at most `margin_s_max`: the answer travels meanwhile."""
        return self.with_margin(min(margin_s_max, share * self.remaining_s()))

    def raise_if_passed(self, what: str = "the call") -> None:
        """Raise DeadlineExceeded when it has passed."""
        if self.passed:
            raise DeadlineExceeded(f"the deadline of {what} passed before an answer was found; allow it more time")
