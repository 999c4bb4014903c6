"""Records of items, copies and shards, which `planmesh.dispatch.batching_ledger` keeps."""

from __future__ import annotations

import enum
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from planmesh.dispatch.hedge_times import HedgeTimes


class State(enum.Enum):
    """State of a copy."""

    SENT = enum.auto()
    LOOKING = enum.auto()
    """It is overdue, and the caller looks whether it is still in its queue."""
    WITHDRAWING = enum.auto()
    OVERDUE = enum.auto()
    """A worker has taken it, and its items are repeated."""
    REFUSED = enum.auto()
    """Its reply came, but answered some items wrongly. They are repeated when the copy is due."""


BECOMES_DUE: Final = frozenset({State.SENT, State.LOOKING, State.REFUSED})
"""States whose copies have a due time, at which the machine acts on them."""


@dataclass(slots=True, eq=False)
class Copy:
    """A task that was sent, or is about to be."""

    number: int
    shard: int
    wanted: dict[int, None]
    """Keys of the items that are not answered, in their order."""
    sent_at_s: float
    attempt: int
    state: State = State.SENT
    looks: int = 0
    worker_missed: bool = False
    """A worker that may have taken it was lost."""
    due_at_s: float = 0.0


@dataclass(slots=True, eq=False)
class Item:
    """Unanswered work of one caller for one shard."""

    shard: int
    asked_at_s: float
    unreadable_before: int
    """`Ledger.unreadable` when it was asked for."""
    attempts: int = 0
    """Copies that were sent, ended ones included."""
    refused: int = 0
    """Copies whose replies came, but did not answer the item correctly."""
    lost: int = 0
    """Copies that were lost with their workers."""
    copies: list[Copy] = field(default_factory=list)
    """Copies in flight, and those in State.REFUSED; the oldest first."""

    @property
    def is_in_flight(self) -> bool:
        """Whether a copy of it may still be answered."""
        return any(copy.state is not State.REFUSED for copy in self.copies)


@dataclass(slots=True, eq=False)
class Shard:
    """The state of one shard and its queue."""

    hedges: HedgeTimes
    waiting: OrderedDict[int, None] = field(default_factory=OrderedDict)
    """Keys of the items that the next copies will carry, in that order."""
    items: dict[int, Item] = field(default_factory=dict)
    """All unanswered items, the oldest first."""
    in_flight: set[int] = field(default_factory=set)
    """Numbers of the copies that are not overdue."""
    overdue: set[int] = field(default_factory=set)
    workers: int = 0
    sending: set[int] = field(default_factory=set)
    """Numbers of the copies that the broker has not accepted yet."""
    queued: int = 0
    """Copies of all coordinators that were in the queue after the last one was sent."""
    silent_since_s: float | None = None
    """Since when the shard has no live worker; None while it has one."""
