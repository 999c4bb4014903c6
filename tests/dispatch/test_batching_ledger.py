"""The bookkeeping of batching: batches, copies, and the references between items and copies."""

from __future__ import annotations

from planmesh.dispatch.batching_commands import Command, Forget, Policy, Withdraw
from planmesh.dispatch.batching_ledger import ATTEMPTS_MAX, COPIES_MAX, SMALL_BATCH_ITEMS, SMALL_FROM_ATTEMPT, Ledger
from planmesh.dispatch.batching_state import BECOMES_DUE, State

POLICY = Policy(shards=2, batch_items_max=16, tasks_in_flight_max=2, hedge_floor_s=0.05, worker_grace_s=3.0)


def ledger_of(*keys: int) -> Ledger:
    ledger = Ledger(POLICY, 0.0)
    for key in keys:
        ledger.add(key, 1, 0.0)
    return ledger


def test_a_copy_takes_the_first_items_up_to_the_bound_of_a_batch() -> None:
    ledger = ledger_of(*range(20))
    copy = ledger.make_copy(1, 5.0)
    assert list(copy.wanted) == list(range(16))
    assert (copy.sent_at_s, copy.attempt, copy.due_at_s) == (5.0, 1, 5.0 + ledger.shards[1].hedges.hedge_s)
    assert list(ledger.shards[1].waiting) == [16, 17, 18, 19]
    assert ledger.shards[1].in_flight == {copy.number}


def test_items_with_failed_attempts_travel_in_small_batches_and_then_alone() -> None:
    ledger = ledger_of(*range(20))
    for item in ledger.items.values():
        item.attempts = SMALL_FROM_ATTEMPT - 1
    assert len(ledger.make_copy(1, 0.0).wanted) == SMALL_BATCH_ITEMS
    ledger.put_back(list(ledger.shards[1].waiting))
    for key in ledger.shards[1].waiting:
        ledger.items[key].attempts = SMALL_FROM_ATTEMPT
    assert len(ledger.make_copy(1, 0.0).wanted) == 1


def test_items_that_are_put_back_come_first_and_in_their_order() -> None:
    ledger = ledger_of(1, 2, 3, 4)
    ledger.put_back([4, 2])
    assert list(ledger.shards[1].waiting) == [4, 2, 1, 3]


def test_a_finished_item_ends_only_the_copies_that_carry_no_other() -> None:
    ledger = ledger_of(1, 2)
    copy = ledger.make_copy(1, 0.0)
    commands: list[Command] = []
    ledger.finish(1, commands, withdraw=True)
    assert (commands, list(copy.wanted)) == ([], [2])
    ledger.finish(2, commands, withdraw=True)
    assert commands == [Withdraw(copy.number)]
    assert copy.state is State.WITHDRAWING
    assert copy.number in ledger.copies, "it occupies its slot until it is withdrawn"
    other = ledger_of(1)
    expiring = other.make_copy(1, 0.0)
    commands.clear()
    other.finish(1, commands, withdraw=False)
    assert commands == [Forget(expiring.number)]
    assert (other.copies, other.shards[1].in_flight, other.items) == ({}, set(), {})


def test_room_is_made_by_removing_the_item_from_its_oldest_overdue_copy() -> None:
    ledger = ledger_of(1)
    copies = []
    for _ in range(COPIES_MAX):
        copies.append(ledger.make_copy(1, 0.0))
        ledger.put_back([1])
    assert not ledger.may_repeat(ledger.items[1])
    copies[1].state = State.OVERDUE
    commands: list[Command] = []
    ledger.make_room(copies[2], commands)
    assert commands == [Forget(copies[1].number)]
    assert ledger.items[1].copies == [copies[0], copies[2]]
    assert ledger.may_repeat(ledger.items[1])


def test_a_lost_copy_is_counted_for_each_of_its_items() -> None:
    ledger = ledger_of(1, 2)
    copy = ledger.make_copy(1, 0.0)
    commands: list[Command] = []
    ledger.lose(copy, commands)
    assert commands == [Forget(copy.number)]
    assert [(item.attempts, item.lost, item.copies) for item in ledger.items.values()] == [(1, 1, [])] * 2


def test_a_refused_copy_is_not_in_flight() -> None:
    ledger = ledger_of(1)
    copy = ledger.make_copy(1, 0.0)
    assert ledger.items[1].is_in_flight
    ledger.end(copy, [])
    ledger.keep_refused(copy, [1])
    assert ledger.items[1].copies == [copy]
    assert not ledger.items[1].is_in_flight


def test_an_item_is_hopeless_when_a_reply_came_for_each_of_its_copies() -> None:
    ledger = ledger_of(1)
    item = ledger.items[1]
    for attempt in range(1, ATTEMPTS_MAX + 1):
        copy = ledger.make_copy(1, 0.0)
        assert list(ledger.exhausted) == ([1] if attempt == ATTEMPTS_MAX else [])
        ledger.put_back([1])
        if attempt < ATTEMPTS_MAX:
            ledger.end(copy, [])
    item.refused, item.lost = 3, 2
    assert not ledger.is_hopeless(item)
    ledger.unreadable += 1
    assert not ledger.is_hopeless(item), "the last copy is not overdue"
    copy.state = State.OVERDUE
    assert ledger.is_hopeless(item)
    ledger.unreadable -= 1
    assert not ledger.is_hopeless(item)
    item.refused += 1
    assert ledger.is_hopeless(item)


def test_a_copy_that_was_not_sent_is_no_attempt() -> None:
    ledger = ledger_of(1, 2)
    for item in ledger.items.values():
        item.attempts = ATTEMPTS_MAX - 1
    copy = ledger.make_copy(1, 0.0)
    commands: list[Command] = []
    ledger.take_back(copy, commands)
    assert commands == [Forget(copy.number)]
    assert [item.attempts for item in ledger.items.values()] == [ATTEMPTS_MAX - 1] * 2
    assert (list(ledger.exhausted), list(ledger.shards[1].waiting)) == ([], [1, 2])


def test_only_current_due_times_count() -> None:
    ledger = ledger_of(1)
    copy = ledger.make_copy(1, 0.0)
    ledger.arm(copy, 9.0)
    assert ledger.next_due_s() == 9.0
    assert list(ledger.pop_due(8.9)) == []
    assert list(ledger.pop_due(9.0)) == [copy]
    assert ledger.next_due_s() is None


def test_an_item_is_stuck_when_none_of_its_copies_becomes_due() -> None:
    ledger = ledger_of(1)
    copy = ledger.make_copy(1, 0.0)
    for state in State:
        copy.state = state
        assert ledger.is_stuck(ledger.items[1]) == (state not in BECOMES_DUE), state
