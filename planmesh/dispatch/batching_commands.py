"""Options and commands of the state machine in `planmesh.dispatch.batching`."""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """Options that an operator can set; see CoordinatorSettings."""

    shards: int
    batch_items_max: int
    """Items in one copy."""
    tasks_in_flight_max: int
    """Copies in flight per shard and live worker. As many overdue ones may exist beside them."""
    hedge_floor_s: float
    worker_grace_s: float
    """How long items wait for the broker or for a shard's first worker before they fail."""


class Absence(enum.Enum):
    """Why items fail without an answer."""

    BROKER = "broker"
    WORKER = "worker"
    EACH_WORKER_LOST = "each worker lost"
    """The shard has workers, but each that took the item ended before it answered. The last of them had no other
    item."""
    NO_VALID_REPLY = "no valid reply"
    """Each copy of the item has ended without an answer: its reply was refused or could not be read, or its worker was
    lost. At least one reply came."""


@dataclass(frozen=True, slots=True)
class Send:
    """Publish a copy with its items that are still unanswered (`Batching.wanted`). If that fails, report `unsent`."""

    copy: int
    shard: int
    keys: tuple[int, ...]
    attempt: int
    """The highest attempt number of its items, from 1."""


@dataclass(frozen=True, slots=True)
class Look:
    """Find out whether a copy is still in its queue, and report `looked`."""

    copy: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Remove a copy from its queue if it is still there, and report `withdrawn`."""

    copy: int


@dataclass(frozen=True, slots=True)
class Complete:
    """Give the callers of these items their answers."""

    keys: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Fail:
    """Give the callers of these items an error."""

    keys: tuple[int, ...]
    absence: Absence


@dataclass(frozen=True, slots=True)
class Repeated:
    """For logs and counters: these items of an overdue copy will be sent again."""

    shard: int
    keys: tuple[int, ...]
    attempt: int


@dataclass(frozen=True, slots=True)
class Forget:
    """A copy has ended. No later command refers to it, so its resources can be freed."""

    copy: int


Command = Send | Look | Withdraw | Complete | Fail | Repeated | Forget
