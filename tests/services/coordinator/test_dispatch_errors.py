"""The errors for work that a shard did not answer: each reason has its own, and the most specific one wins."""

from __future__ import annotations

import grpc
import pytest

from planmesh.dispatch.batching import Batching
from planmesh.dispatch.batching_commands import Absence, Command, Look, Policy, Send
from planmesh.dispatch.batching_ledger import ATTEMPTS_MAX
from planmesh.errors import BrokerUnavailable, DeadlineExceeded, InternalError, PlanmeshError, WorkerUnavailable
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.status import code_of, reason_of
from services.coordinator.dispatch_errors import NoValidReplyError, WorkerItemError, absence_error, late_error

POLICY = Policy(shards=4, batch_items_max=4, tasks_in_flight_max=9, hedge_floor_s=0.05, worker_grace_s=3.0)
SHARD = 3


@pytest.mark.parametrize(
    ("absence", "kind", "text"),
    [
        (Absence.BROKER, BrokerUnavailable, "Redis does not answer"),
        (Absence.WORKER, WorkerUnavailable, "no worker serves shard 3"),
        (Absence.EACH_WORKER_LOST, InternalError, f"each of {ATTEMPTS_MAX} workers of shard 3"),
        (Absence.NO_VALID_REPLY, NoValidReplyError, f"no valid reply to the {ATTEMPTS_MAX} tasks"),
    ],
)
def test_each_absence_has_its_error(absence: Absence, kind: type[PlanmeshError], text: str) -> None:
    error = absence_error(absence, SHARD)
    assert type(error) is kind
    assert text in error.message


def accept(machine: Batching, now_s: float, command: Command) -> None:
    """Have the broker accept a copy."""
    if isinstance(command, Send):
        for further in machine.queued(now_s, command.copy, 1):
            accept(machine, now_s, further)


def test_the_error_for_refused_replies_says_why_and_that_a_retry_may_work() -> None:
    error = absence_error(Absence.NO_VALID_REPLY, SHARD, "search: expected 8 bytes")
    assert "(the last one: search: expected 8 bytes); try again" in error.message
    assert (code_of(error), reason_of(error)) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
    assert "(the last one: damaged, or without this work)" in absence_error(Absence.NO_VALID_REPLY, SHARD).message


def machine_with_an_item(workers: int) -> Batching:
    machine = Batching(POLICY, 0.0)
    machine.workers(0.0, {SHARD: workers})
    for command in machine.ask(0.0, 1, SHARD):
        accept(machine, 0.0, command)
    return machine


def test_a_late_item_gets_the_most_specific_reason() -> None:
    machine = machine_with_an_item(workers=1)
    late = late_error(machine, 1, SHARD, "")
    assert (type(late), late.message) == (
        DeadlineExceeded,
        "the workers of shard 3 did not answer before the deadline; allow more time",
    )
    refused = late_error(machine, 1, SHARD, "search: expected 8 bytes")
    assert isinstance(refused, DeadlineExceeded)
    assert "no valid answer before the deadline (the last one: search: expected 8 bytes)" in refused.message
    machine.workers(0.5, {SHARD: 0})
    assert isinstance(late_error(machine, 1, SHARD, "refused"), WorkerUnavailable)
    machine.broker_down(1.0)
    assert isinstance(late_error(machine, 1, SHARD, "refused"), BrokerUnavailable)


def test_an_item_without_attempts_left_names_their_number() -> None:
    machine = machine_with_an_item(workers=1)
    now_s = 0.0
    while machine.attempts(1) < ATTEMPTS_MAX:
        wake_at_s = machine.wake_at_s()
        assert wake_at_s is not None
        now_s = wake_at_s
        for command in machine.wake(now_s):
            accept(machine, now_s, command)
            if isinstance(command, Look):
                for further in machine.looked(now_s, command.copy, waits=False):
                    accept(machine, now_s, further)
    assert f"none of the {ATTEMPTS_MAX} tasks" in late_error(machine, 1, SHARD, "").message


def test_a_workers_error_keeps_kind_and_file() -> None:
    message = task_pb2.ItemError(kind=task_pb2.ITEM_ERROR_KIND_DAMAGED, message="broken", file="overlay")
    error = WorkerItemError(message)
    assert (error.kind, error.message, error.file, str(error)) == (
        task_pb2.ITEM_ERROR_KIND_DAMAGED,
        "broken",
        "overlay",
        "broken",
    )
