"""What the batching of work is given and what it commands: values of `planmesh.dispatch.batching`."""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """What an operator may set; see CoordinatorSettings."""

    shards: int
    batch_items_max: int
    """Items in one copy."""
    tasks_in_flight_max: int
    """Copies under way per shard and live worker; overdue ones may be as many again."""
    hedge_floor_s: float
    worker_grace_s: float
    """How long items wait for the broker or for a shard's first worker before they fail."""


class Absence(enum.Enum):
    """Why items fail without an answer."""

    BROKER = "broker"
    WORKER = "worker"
    EACH_WORKER_LOST = "each worker lost"
    """Workers are there, but each that took the item was gone before it answered, the last ones with nothing else."""


@dataclass(frozen=True, slots=True)
class Send:
    """Publish a copy of items; report `unsent` when that fails. `Batching.wanted` has those still needed."""

    copy: int
    shard: int
    keys: tuple[int, ...]
    attempt: int
    """The highest of the items', from 1."""


@dataclass(frozen=True, slots=True)
class Look:
    """Find out whether a copy still waits in its queue, and report `looked`."""

    copy: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take a copy out of its queue if it is still there, and report `withdrawn`."""

    copy: int


@dataclass(frozen=True, slots=True)
class Complete:
    """Give these items their answers."""

    keys: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Fail:
    """Give these items an error."""

    keys: tuple[int, ...]
    absence: Absence


@dataclass(frozen=True, slots=True)
class Repeated:
    """For logs and counters: these items of an overdue copy are sent again."""

    shard: int
    keys: tuple[int, ...]
    attempt: int


@dataclass(frozen=True, slots=True)
class Forget:
    """A copy has ended: nothing about it will be asked again."""

    copy: int


Command = Send | Look | Withdraw | Complete | Fail | Repeated | Forget
