"""Bounds how far behind the newest acknowledged change the answers of a coordinator may be.

The coordinator sends pings with the partition service's watch; the service returns each behind all changes that it had
acknowledged when it received it. So when a ping comes back, the coordinator had all changes that were acknowledged
before it was sent. No clock but its own is involved. Changes that it has are in its answers when they are applied too,
which AdoptedGraph follows for each graph: after a restart there may be many.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Final

from planmesh.errors import ServiceUnavailable
from planmesh.rpc.deadline import Deadline

PINGS_PER_BOUND: Final = 8
"""Pings in the time of the bound, so that a late one or two do no harm."""

INTERVAL_S_MAX: Final = 0.5

UNANSWERED_MAX: Final = 1_000
"""Pings whose times are remembered."""

PATIENCE_S: Final = 3.0
"""How long a plan waits for a ping before it is refused: a partition service that is restarted takes about as long."""


class Freshness:
    """The age of what a coordinator knows. `staleness_s_max` 0 means that there is no bound."""

    def __init__(self, staleness_s_max: float) -> None:
        self._bound_s = staleness_s_max
        self._sent: dict[int, float] = {}
        self._numbers = itertools.count(1)
        self.known_at_s = float("-inf")
        """A time of which the coordinator is known to have had all changes, on the monotonic clock."""
        self._came = asyncio.Event()
        self.interval_s = min(INTERVAL_S_MAX, staleness_s_max / PINGS_PER_BOUND or INTERVAL_S_MAX)
        """Time between two pings."""

    @property
    def age_s(self) -> float:
        """How long ago the coordinator is known to have had all changes, in seconds."""
        return time.monotonic() - self.known_at_s

    @property
    def is_fresh(self) -> bool:
        """Whether the coordinator had all changes within the bound."""
        return self.allows(self.known_at_s)

    def allows(self, complete_at_s: float) -> bool:
        """Whether answers with all changes of a time, on the monotonic clock, are within the bound."""
        return not self._bound_s or time.monotonic() - complete_at_s <= self._bound_s

    def ping(self) -> int:
        """Return the number of a new ping, which the caller sends at once."""
        number = next(self._numbers)
        self._sent[number] = time.monotonic()
        while len(self._sent) > UNANSWERED_MAX:
            del self._sent[next(iter(self._sent))]
        return number

    def note_pong(self, number: int) -> float | None:
        """Record that a ping came back. Return when it was sent, None if that is forgotten."""
        sent_s = self._sent.pop(number, None)
        if sent_s is None:
            return None
        self._sent = {later: at_s for later, at_s in self._sent.items() if later > number}
        self.known_at_s = max(self.known_at_s, sent_s)
        self._came.set()
        self._came = asyncio.Event()
        return sent_s

    async def wait(self, deadline: Deadline) -> None:
        """Return when answers are within the bound. Raises ServiceUnavailable after PATIENCE_S, or at the deadline."""
        if self.is_fresh:
            return
        try:
            async with asyncio.timeout(min(PATIENCE_S, deadline.remaining_s())):
                while not self.is_fresh:
                    await self._came.wait()
        except TimeoutError:
            raise ServiceUnavailable(
                f"this coordinator has not heard from the partition service for more than {self._bound_s:g} s, so it "
                "does not know the newest changes; try again, or ask for a version that is known (at_version)"
            ) from None
