"""The errors that callers get when a shard does not answer their work."""

from __future__ import annotations

from planmesh.dispatch.batching import Batching
from planmesh.dispatch.batching_commands import Absence
from planmesh.dispatch.batching_ledger import ATTEMPTS_MAX
from planmesh.errors import (
    BrokerUnavailable,
    DeadlineExceeded,
    InternalError,
    PlanmeshError,
    Unavailable,
    WorkerUnavailable,
)
from planmesh.internal.v1 import task_pb2


class WorkerItemError(Exception):
    """A worker replied that it could not do an item. `services.coordinator.shard_queries` maps the kind to an error."""

    def __init__(self, error: task_pb2.ItemError) -> None:
        super().__init__(error.message)
        self.kind = error.kind
        self.message = error.message
        self.file = error.file


class NoValidReplyError(Unavailable):
    """The workers of a shard gave no valid reply to an item, and it may not be sent again. Other items may succeed."""


def absence_error(absence: Absence, shard: int, problem: str = "") -> PlanmeshError:
    """Return the error for work of a shard that failed because of `absence`.

    `problem` says why the last reply to the item was refused; it is empty when there was none.
    """
    if absence is Absence.NO_VALID_REPLY:
        # Unavailable, not InternalError: a worker that answers wrongly may be right the next time.
        return NoValidReplyError(
            f"the workers of shard {shard} gave no valid reply to the {ATTEMPTS_MAX} tasks that carried this work (the "
            f"last one: {problem or 'damaged, or without this work'}); try again; the coordinator's log says more",
            shard=str(shard),
        )
    if absence is Absence.EACH_WORKER_LOST:
        # InternalError, not Unavailable: a client that retried would crash more workers.
        return InternalError(
            f"each of {ATTEMPTS_MAX} workers of shard {shard} that took this work ended before it answered; their logs "
            "say why"
        )
    if absence is Absence.BROKER:
        return BrokerUnavailable("Redis does not answer; try again when it is back")
    return _no_worker(shard)


def late_error(machine: Batching, key: int, shard: int, problem: str) -> PlanmeshError:
    """Return the error for an item without an answer at its deadline, with the reason if one is known.

    `problem` says why the last reply to the item was refused; it is empty when there was none.
    """
    if not machine.broker_up:
        return BrokerUnavailable("Redis did not answer before the deadline; try again when it is back")
    if not machine.live_workers(shard):
        return _no_worker(shard)
    if problem:
        return DeadlineExceeded(
            f"the workers of shard {shard} gave no valid answer before the deadline (the last one: {problem}); "
            "try again"
        )
    if machine.attempts(key) >= ATTEMPTS_MAX:
        return DeadlineExceeded(
            f"the workers of shard {shard} answered none of the {ATTEMPTS_MAX} tasks that carried this work before the "
            "deadline; their logs say why"
        )
    return DeadlineExceeded(f"the workers of shard {shard} did not answer before the deadline; allow more time")


def _no_worker(shard: int) -> WorkerUnavailable:
    return WorkerUnavailable(f"no worker serves shard {shard}; try again when one is back", shard=str(shard))
