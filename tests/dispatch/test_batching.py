"""The state machine for batching and hedging: golden traces, and its bounds under random events."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planmesh.dispatch.batching import Batching
from planmesh.dispatch.batching_commands import (
    Absence,
    Command,
    Complete,
    Fail,
    Forget,
    Look,
    Policy,
    Send,
    Withdraw,
)
from planmesh.dispatch.batching_ledger import ATTEMPTS_MAX, COPIES_MAX, REMEMBERED_MAX
from tests.dispatch.trace_runner import TRACES, replay

POLICY = Policy(shards=2, batch_items_max=3, tasks_in_flight_max=2, hedge_floor_s=0.05, worker_grace_s=3.0)


@pytest.mark.parametrize("trace", sorted(TRACES.glob("*.txt")), ids=lambda path: path.stem)
def test_trace(trace: Path) -> None:
    text = trace.read_text()
    assert replay(text) == text, "if the change is intended, run: python -m tests.dispatch.trace_runner"


class World:
    """A broker, workers and callers that act at random. It asserts the bounds of the machine."""

    def __init__(self, draw: st.DataObject) -> None:
        self.draw = draw
        self.now_s = 0.0
        self.machine = Batching(POLICY, 0.0)
        self.asked: dict[int, int] = {}
        self.ended: set[int] = set()
        self.attempts: dict[int, int] = {}
        self.unrefused: dict[int, set[int]] = {}
        """The copies of each item to which no reply was refused."""
        self.crowded: set[int] = set()
        """Items that had more than COPIES_MAX such copies at a time: the machine no longer counts some of them."""
        self.queued: dict[int, tuple[int, ...]] = {}
        self.taken: dict[int, tuple[int, ...]] = {}
        self.looks: set[int] = set()
        self.withdrawals: set[int] = set()
        self.unnoticed: list[int] = []
        """Copies that the broker has accepted, which the machine does not know yet."""

    def carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Send():
                    assert 1 <= len(command.keys) <= POLICY.batch_items_max
                    assert self.ended.isdisjoint(command.keys), "answered and cancelled items must not be sent"
                    for key in command.keys:
                        assert self.asked[key] == command.shard
                        self.attempts[key] = self.attempts.get(key, 0) + 1
                        unrefused = self.unrefused.setdefault(key, set())
                        unrefused.add(command.copy)
                        if len(unrefused) > COPIES_MAX:
                            self.crowded.add(key)
                    self.queued[command.copy] = command.keys
                    self.unnoticed.append(command.copy)
                case Complete() | Fail():
                    assert self.ended.isdisjoint(command.keys), "an item ends once"
                    self.ended.update(command.keys)
                case Look():
                    self.looks.add(command.copy)
                case Withdraw():
                    self.withdrawals.add(command.copy)
        for shard in range(POLICY.shards):
            limit = POLICY.tasks_in_flight_max * 4
            assert self.machine.copies_under_way(shard) <= 2 * limit

    def one_of(self, values: Collection[int]) -> int:
        return self.draw.draw(st.sampled_from(sorted(values)))

    def step(self, kind: str) -> None:
        self.now_s += self.draw.draw(st.sampled_from([0.0, 0.001, 0.4, 3.0]))
        open_items = self.asked.keys() - self.ended
        if kind == "ask":
            key = len(self.asked) + 1
            self.asked[key] = self.draw.draw(st.integers(0, POLICY.shards - 1))
            self.carry_out(self.machine.ask(self.now_s, key, self.asked[key]))
        elif kind == "drop" and open_items:
            key = self.one_of(open_items)
            self.ended.add(key)
            self.carry_out(self.machine.drop(self.now_s, key))
        elif kind == "take" and self.queued:
            copy = self.one_of(self.queued)
            self.taken[copy] = self.queued.pop(copy)
        elif kind == "reply" and self.taken:
            copy = self.one_of(self.taken)
            keys = self.taken.pop(copy)
            right = self.draw.draw(st.lists(st.sampled_from(keys)))
            for key in set(keys).difference(right):
                self.unrefused[key].discard(copy)
            self.carry_out(self.machine.reply(self.now_s, copy, right))
        elif kind == "accept" and self.unnoticed:
            copy = self.unnoticed.pop(self.draw.draw(st.integers(0, len(self.unnoticed) - 1)))
            self.carry_out(self.machine.queued(self.now_s, copy, self.draw.draw(st.integers(1, 9))))
        elif kind == "lose" and self.taken:
            del self.taken[self.one_of(self.taken)]
        elif kind == "spoil" and self.taken:
            del self.taken[self.one_of(self.taken)]
            self.carry_out(self.machine.unreadable(self.now_s))
        elif kind == "workers":
            live = {shard: self.draw.draw(st.integers(0, 4)) for shard in range(POLICY.shards)}
            self.carry_out(self.machine.workers(self.now_s, live))
        elif kind == "broker down":
            self.carry_out(self.machine.broker_down(self.now_s))
        else:
            self.carry_out(self.machine.wake(self.now_s))
        self.answer_questions()

    def answer_questions(self) -> None:
        for copy in [copy for copy in sorted(self.looks) if self.draw.draw(st.booleans())]:
            self.looks.discard(copy)
            self.carry_out(self.machine.looked(self.now_s, copy, waits=copy in self.queued))
        for copy in [copy for copy in sorted(self.withdrawals) if self.draw.draw(st.booleans())]:
            self.withdrawals.discard(copy)
            unread = self.queued.pop(copy, None) is not None
            self.carry_out(self.machine.withdrawn(self.now_s, copy, unread=unread))

    def settle(self) -> None:
        """Let workers and broker work without faults, until each item is answered or has no attempt left."""
        self.carry_out(self.machine.workers(self.now_s, {0: 2, 1: 2}))
        for _ in range(20 * (len(self.asked) + 1)):
            while self.unnoticed:
                self.carry_out(self.machine.queued(self.now_s, self.unnoticed.pop(), 1))
            self.taken |= self.queued
            self.queued.clear()
            for copy in sorted(self.taken):
                self.carry_out(self.machine.reply(self.now_s, copy, self.taken.pop(copy)))
            for copy in sorted(self.looks | self.withdrawals):
                self.carry_out(self.machine.looked(self.now_s, copy, waits=copy in self.queued))
                self.carry_out(self.machine.withdrawn(self.now_s, copy, unread=self.queued.pop(copy, None) is not None))
            self.looks.clear()
            self.withdrawals.clear()
            self.now_s = max(self.now_s, self.machine.wake_at_s() or 0.0)
            self.carry_out(self.machine.wake(self.now_s))


def test_an_item_whose_replies_are_all_refused_fails_with_the_last_of_them() -> None:
    machine = Batching(POLICY, 0.0)
    machine.workers(0.0, {0: 1})
    now_s = 0.0
    commands = machine.ask(now_s, 1, 0)
    for attempt in range(1, ATTEMPTS_MAX + 1):
        if not commands:
            now_s = machine.wake_at_s() or now_s
            commands = machine.wake(now_s)
        (send,) = commands
        assert isinstance(send, Send)
        assert send.attempt == attempt
        commands = [one for one in machine.reply(now_s, send.copy, []) if not isinstance(one, Forget)]
    assert commands == [Fail((1,), Absence.NO_VALID_REPLY)]
    assert (machine.items, machine.wake_at_s()) == (0, None)


KINDS = [
    "ask",
    "ask",
    "accept",
    "accept",
    "drop",
    "take",
    "take",
    "reply",
    "reply",
    "lose",
    "spoil",
    "workers",
    "broker down",
    "wake",
]


@settings(max_examples=300, deadline=None)
@given(kinds=st.lists(st.sampled_from(KINDS), max_size=60), draw=st.data())
def test_bounds_hold_and_no_item_is_forgotten_whatever_happens(kinds: list[str], draw: st.DataObject) -> None:
    world = World(draw)
    world.carry_out(world.machine.workers(0.0, {0: 2, 1: 2}))
    for kind in kinds:
        world.step(kind)
        for key, attempts in world.attempts.items():
            assert attempts <= ATTEMPTS_MAX
            hopeless = attempts == ATTEMPTS_MAX and not world.unrefused[key] and key not in world.crowded
            assert not hopeless or key in world.ended, "it fails as soon as each of its replies was refused"
    world.settle()
    stuck = world.asked.keys() - world.ended
    assert world.machine.items == len(stuck)
    for key in stuck:
        # Its copies are lost, and no worker was missed since then, so it waits for its deadline.
        assert world.machine.attempts(key) >= min(ATTEMPTS_MAX, COPIES_MAX), key
        world.carry_out(world.machine.drop(world.now_s, key))
    for _ in range(2):
        world.answer_questions()
    assert world.machine.items == 0


def test_remembered_copies_are_bounded() -> None:
    machine = Batching(POLICY, 0.0)
    machine.workers(0.0, {0: 1})
    for key in range(1, REMEMBERED_MAX + 100):
        (send,) = machine.ask(0.0, key, 0)
        assert isinstance(send, Send)
        machine.drop(0.0, key)
        machine.withdrawn(0.0, send.copy, unread=False)
    assert machine.remembered_copies == REMEMBERED_MAX
