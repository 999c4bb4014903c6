"""What the machine of `planmesh.dispatch.batching` remembers of items, of their copies, and of shards."""

from __future__ import annotations

import enum
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from planmesh.dispatch.hedge_times import HedgeTimes


class State(enum.Enum):
    """Where a copy is."""

    SENT = enum.auto()
    LOOKING = enum.auto()
    WITHDRAWING = enum.auto()
    OVERDUE = enum.auto()
    """A worker has taken it, and its items are sent again."""
    REFUSED = enum.auto()
    """Its reply came, and was no answer to some items, which are sent again when it is due."""


BECOMES_DUE: Final = frozenset({State.SENT, State.LOOKING, State.REFUSED})
"""States of copies that the machine looks at again."""


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
    """A worker that may have taken it is gone."""
    due_at_s: float = 0.0


@dataclass(slots=True, eq=False)
class Item:
    """What one caller asked of one shard, and nobody has answered."""

    shard: int
    asked_at_s: float
    attempts: int = 0
    copies: list[Copy] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Shard:
    """A queue, and what the machine knows about it."""

    hedges: HedgeTimes
    waiting: OrderedDict[int, None] = field(default_factory=OrderedDict)
    items: dict[int, Item] = field(default_factory=dict)
    """All that are not answered, the oldest first."""
    in_flight: set[int] = field(default_factory=set)
    overdue: set[int] = field(default_factory=set)
    workers: int = 0
    silent_since_s: float | None = None
