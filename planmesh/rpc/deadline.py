"""A deadline that crosses every hop.

grpc.aio does not propagate deadlines, so every downstream call passes `timeout=deadline.remaining_s()`. Tasks carry the
time by the clock of Redis (planmesh.dispatch.broker_clock).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import grpc.aio

from planmesh.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time after which no caller waits for the answer. Within a process it is kept on the monotonic clock."""

    at_s: float
    """The deadline as a value of `time.monotonic()`."""

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    @classmethod
    def from_context(cls, context: grpc.aio.ServicerContext[Any, Any], *, default_s: float, max_s: float) -> Deadline:
        """Return a call's deadline: the one the caller set, at most `max_s` from now, or else `default_s` from now."""
        remaining_s = context.time_remaining()
        return cls.after(default_s if remaining_s is None else min(float(remaining_s), max_s))

    @property
    def passed(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self.at_s

    def remaining_s(self) -> float:
        """Return the seconds left, 0 when the deadline has passed."""
        return max(0.0, self.at_s - time.monotonic())

    def with_margin(self, margin_s: float) -> Deadline:
        """Return a deadline `margin_s` earlier, so that a downstream call ends in time for its caller to report why."""
        return Deadline(self.at_s - margin_s)

    def with_share_margin(self, share: float, margin_s_max: float) -> Deadline:
        """Return a deadline earlier by `share` of the time left, at most `margin_s_max`: time for the reply."""
        return self.with_margin(min(margin_s_max, share * self.remaining_s()))

    def raise_if_passed(self, what: str = "the call") -> None:
        """Raise DeadlineExceeded when the deadline has passed; the message names `what`."""
        if self.passed:
            raise DeadlineExceeded(f"the deadline of {what} passed before an answer was found; allow more time")
