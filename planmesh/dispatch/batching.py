"""Batching, hedging and withdrawal of work for shards, as a pure state machine: times and events in, commands out.

Work for a shard with free capacity is sent at once; other work waits and travels together in the next task. Each task
that is sent is a *copy* of its items. A copy is overdue when no reply came within the hedge time
(`planmesh.dispatch.hedge_times`). The machine then asks the caller to look whether the copy is still in the shard's
queue. A copy that is keeps its place, because a second one behind it would not be taken sooner. A copy that a worker
has taken is repeated: any free worker of the shard takes the repeat, and the first reply counts, whichever copy it
answers. A copy that no unanswered item needs is withdrawn from the queue, and occupies its slot until that is done.

Bounds: `Policy.tasks_in_flight_max` copies in a queue or a worker (one while the queue is long), and as many overdue
ones; ATTEMPTS_MAX and
COPIES_MAX copies of one item (`planmesh.dispatch.batching_ledger`). An item that reaches them waits for replies that
may still come, until its caller drops it. It fails as soon as no reply can come any more: each of its copies was lost
with its worker, or had a reply that was refused or could not be read.

Times are seconds of one monotonic clock, which the caller reads.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from planmesh.dispatch.batching_commands import (
    Absence,
    Command,
    Complete,
    Fail,
    Look,
    Policy,
    Repeated,
    Send,
)
from planmesh.dispatch.batching_ledger import ATTEMPTS_MAX, Ledger
from planmesh.dispatch.batching_state import Copy, Shard, State

REFUSED_AT_ONCE_MAX: Final = 3
"""Attempts up to which refused work is repeated at once. Later repeats wait for the hedge time: a worker that is wrong
once may be right the next time; one that is always wrong must not be kept busy with the same work."""

SENDING_MAX: Final = 1
"""Copies of a shard that the broker has not accepted yet. Work that comes meanwhile travels in the next copy, so a slow
broker gets larger tasks, not more."""

WORKER_LOSS_AGE_S: Final = 1.0
"""Age from which a copy may be lost with a missed worker: such a worker has been silent for about two seconds, so it
cannot have taken a younger copy."""


class Batching:
    """The machine for all shards. Each event returns the commands to carry out, in order."""

    def __init__(self, policy: Policy, now_s: float) -> None:
        self._policy = policy
        self._ledger = Ledger(policy, now_s)
        self._broker_down_since_s: float | None = None

    # Events.

    def ask(self, now_s: float, key: int, shard: int) -> list[Command]:
        """A caller asks for a new item; `key` was never used before."""
        self._ledger.add(key, shard, now_s)
        return self._flush(now_s, shard, [])

    def drop(self, now_s: float, key: int) -> list[Command]:
        """The caller of an item stopped waiting. Does nothing when the item has been answered."""
        item = self._ledger.items.get(key)
        if item is None:
            return []
        commands: list[Command] = []
        self._finish(key, commands)
        return self._flush(now_s, item.shard, commands)

    def reply(self, now_s: float, copy_number: int, answered: Collection[int]) -> list[Command]:
        """A reply to a copy arrived. It answers the items `answered` correctly, and no other item of the copy."""
        commands: list[Command] = []
        ledger = self._ledger
        copy = ledger.copies.get(copy_number)
        if copy is not None:
            ledger.end(copy, commands)
        new = tuple(key for key in dict.fromkeys(answered) if key in ledger.items)
        touched = {ledger.items[key].shard for key in new}
        for key in new:
            self._finish(key, commands)
        if new:
            commands.append(Complete(new))
        if copy is None:
            ended = ledger.ended.pop(copy_number, None)
            if ended is not None:
                ledger.shards[ended[0]].hedges.note(now_s - ended[1])
        else:
            touched.add(copy.shard)
            ledger.ended.pop(copy_number, None)
            unanswered = [key for key in copy.wanted if key in ledger.items]
            if unanswered:
                self._repeat_refused(copy, unanswered)
                self._fail_hopeless(unanswered, commands)
            else:
                ledger.shards[copy.shard].hedges.note(now_s - copy.sent_at_s)
        for shard in sorted(touched):
            self._flush(now_s, shard, commands)
        return commands

    def unreadable(self, now_s: float) -> list[Command]:
        """A reply arrived that cannot be read. It answers nothing, and does not say which copy it is for."""
        ledger = self._ledger
        ledger.unreadable += 1
        commands: list[Command] = []
        touched = {ledger.items[key].shard for key in ledger.exhausted}
        self._fail_hopeless(list(ledger.exhausted), commands)
        for shard in sorted(touched):
            self._flush(now_s, shard, commands)
        return commands

    def unsent(self, now_s: float, copy_number: int) -> list[Command]:
        """The broker did not accept a copy. Its items wait until the broker is back; the attempt does not count."""
        commands: list[Command] = []
        copy = self._ledger.copies.get(copy_number)
        if copy is not None:
            self._ledger.take_back(copy, commands)
        return commands + self.broker_down(now_s)

    def queued(self, now_s: float, copy_number: int, waiting: int) -> list[Command]:
        """The broker accepted a copy: `waiting` copies of all coordinators are in its queue now."""
        copy = self._ledger.copies.get(copy_number)
        if copy is None:
            return []
        shard = self._ledger.shards[copy.shard]
        shard.sending.discard(copy_number)
        shard.queued = waiting
        return self._flush(now_s, copy.shard, [])

    def looked(self, now_s: float, copy_number: int, *, waits: bool) -> list[Command]:
        """The result of Look: whether the overdue copy is still in its queue. Unknown counts as True."""
        ledger = self._ledger
        copy = ledger.copies.get(copy_number)
        if copy is None or copy.state is not State.LOOKING:
            return []
        shard = ledger.shards[copy.shard]
        shard.sending.discard(copy_number)
        if waits or (shard.workers and len(shard.overdue) >= self._in_flight_max(shard)):
            copy.state = State.SENT
            copy.looks += 1
            ledger.arm(copy, now_s + shard.hedges.delay_s(copy.attempt + copy.looks))
            return []
        commands: list[Command] = []
        is_last = copy.worker_missed and not any(ledger.items[key].attempts < ATTEMPTS_MAX for key in copy.wanted)
        if shard.workers and not is_last:
            ledger.make_room(copy, commands)
            repeated = self._repeatable(copy)
            shard.in_flight.discard(copy_number)
            copy.state = State.OVERDUE
            shard.overdue.add(copy_number)
            self._fail_hopeless(list(copy.wanted), commands)
        else:
            # The copy was lost with its worker, so it no longer counts as one of its items' copies.
            ledger.lose(copy, commands)
            repeated = self._repeatable(copy)
            self._fail_lost(copy, commands)
        if repeated:
            ledger.put_back(repeated)
            commands.append(Repeated(copy.shard, repeated, copy.attempt))
        return self._flush(now_s, copy.shard, commands)

    def withdrawn(self, now_s: float, copy_number: int, *, unread: bool) -> list[Command]:
        """The result of Withdraw: `unread` when the copy was still in its queue, False when a worker had taken it."""
        copy = self._ledger.copies.get(copy_number)
        if copy is None or copy.state is not State.WITHDRAWING:
            return []
        commands: list[Command] = []
        self._ledger.end(copy, commands)
        if unread:
            del self._ledger.ended[copy_number]
        return self._flush(now_s, copy.shard, commands)

    def wake(self, now_s: float) -> list[Command]:
        """The time that `wake_at_s` returned has come."""
        commands: list[Command] = []
        for copy in self._ledger.pop_due(now_s):
            if copy.state is State.SENT:
                copy.state = State.LOOKING
                commands.append(Look(copy.number))
            elif copy.state is State.REFUSED:
                self._ledger.end(copy, commands)
                self._ledger.put_back(self._repeatable(copy))
                self._flush(now_s, copy.shard, commands)
        return commands

    def workers(self, now_s: float, live: Mapping[int, int], missed: Mapping[int, int] | None = None) -> list[Command]:
        """The broker answered. `live` counts each shard's live workers, `missed` those lost since the last event.

        The counts of live workers do not show every loss, because a new worker may have replaced a lost one.
        """
        self._broker_down_since_s = None
        commands: list[Command] = []
        for number, shard in enumerate(self._ledger.shards):
            before, shard.workers = shard.workers, live.get(number, 0)
            if shard.workers:
                shard.silent_since_s = None
            elif shard.silent_since_s is None:
                shard.silent_since_s = now_s
            if shard.workers < before or (missed or {}).get(number, 0):
                self._miss_worker(now_s, number, commands)
            self._flush(now_s, number, commands)
            self._fail_if_absent(now_s, number, commands)
        return commands + self.wake(now_s)

    def broker_down(self, now_s: float) -> list[Command]:
        """The broker did not answer."""
        if self._broker_down_since_s is None:
            self._broker_down_since_s = now_s
        commands: list[Command] = []
        for number in range(self._policy.shards):
            self._fail_if_absent(now_s, number, commands)
        return commands

    # Queries, which change nothing.

    def wake_at_s(self) -> float | None:
        """When to call `wake` next; None while no copy will become due."""
        return self._ledger.next_due_s()

    def wanted(self, copy_number: int) -> tuple[int, ...]:
        """The unanswered items of a copy, for the caller that is about to send it."""
        copy = self._ledger.copies.get(copy_number)
        return () if copy is None else tuple(copy.wanted)

    def absence(self, now_s: float, shard: int) -> Absence | None:
        """What the shard's work has lacked for longer than the grace time: the broker or a worker; None if neither."""
        since_s = self._broker_down_since_s
        if since_s is not None and now_s - since_s > self._policy.worker_grace_s:
            return Absence.BROKER
        since_s = self._ledger.shards[shard].silent_since_s
        if since_s is not None and now_s - since_s > self._policy.worker_grace_s:
            return Absence.WORKER
        return None

    @property
    def broker_up(self) -> bool:
        """Whether the broker answered last time."""
        return self._broker_down_since_s is None

    @property
    def items(self) -> int:
        """Number of unanswered items of all shards."""
        return len(self._ledger.items)

    @property
    def remembered_copies(self) -> int:
        """Number of ended copies whose late replies would still update the hedge times; at most REMEMBERED_MAX."""
        return len(self._ledger.ended)

    def live_workers(self, shard: int) -> int:
        """Live workers of a shard at the last `workers` event."""
        return self._ledger.shards[shard].workers

    def pending_items(self, shard: int) -> int:
        """Number of unanswered items of a shard."""
        return len(self._ledger.shards[shard].items)

    def oldest_wait_s(self, now_s: float, shard: int) -> float:
        """How long the shard's oldest unanswered item has waited; 0 when there is none."""
        oldest = next(iter(self._ledger.shards[shard].items.values()), None)
        return 0.0 if oldest is None else now_s - oldest.asked_at_s

    def hedge_s(self, shard: int) -> float:
        """Hedge time of a shard's first attempts, in seconds."""
        return self._ledger.shards[shard].hedges.hedge_s

    def attempts(self, key: int) -> int:
        """How many copies of an unanswered item were sent."""
        return self._ledger.items[key].attempts

    def copies_under_way(self, shard: int) -> int:
        """Copies of a shard that are in its queue or that a worker has, overdue ones included."""
        return len(self._ledger.shards[shard].in_flight) + len(self._ledger.shards[shard].overdue)

    # Decisions.

    def _in_flight_max(self, shard: Shard) -> int:
        """Return how many copies may be in flight: one while more wait in the queue than the workers take next.

        A longer queue has the copies of other coordinators. Further ones would only wait behind them; the work travels
        in a larger copy later.
        """
        workers = max(1, shard.workers)
        return 1 if shard.queued > workers else self._policy.tasks_in_flight_max * workers

    def _repeatable(self, copy: Copy) -> tuple[int, ...]:
        return tuple(key for key in copy.wanted if self._ledger.may_repeat(self._ledger.items[key]))

    def _flush(self, now_s: float, number: int, commands: list[Command]) -> list[Command]:
        """Send what waits for a shard, as far as the bound on its copies in flight allows."""
        shard = self._ledger.shards[number]
        in_flight_max = self._in_flight_max(shard)
        while (
            shard.waiting
            and shard.workers
            and self.broker_up
            and len(shard.in_flight) < in_flight_max
            and len(shard.sending) < SENDING_MAX
        ):
            copy = self._ledger.make_copy(number, now_s)
            commands.append(Send(copy.number, number, tuple(copy.wanted), copy.attempt))
        return commands

    def _finish(self, key: int, commands: list[Command]) -> None:
        self._ledger.finish(key, commands, withdraw=self.broker_up)

    def _repeat_refused(self, copy: Copy, unanswered: list[int]) -> None:
        """Repeat items without a correct answer: at once up to REFUSED_AT_ONCE_MAX, else when the copy is due."""
        for key in unanswered:
            self._ledger.items[key].refused += 1
        repeatable = [key for key in unanswered if self._ledger.may_repeat(self._ledger.items[key])]
        if copy.attempt <= REFUSED_AT_ONCE_MAX:
            self._ledger.put_back(repeatable)
        elif repeatable:
            self._ledger.keep_refused(copy, repeatable)

    def _miss_worker(self, now_s: float, number: int, commands: list[Command]) -> None:
        """A shard lost a worker, and any copy that is old enough may be lost with it: look at once."""
        ledger = self._ledger
        shard = ledger.shards[number]
        old = [ledger.copies[copy] for copy in sorted(shard.in_flight | shard.overdue)]
        for copy in old:
            if shard.workers and copy.sent_at_s > now_s - WORKER_LOSS_AGE_S:
                continue  # a remaining worker has it; if none remained, every copy that was taken would be lost
            copy.worker_missed = True
            if copy.state is State.SENT:
                ledger.arm(copy, now_s)
            elif copy.state is State.OVERDUE:
                ledger.lose(copy, commands)
                ledger.put_back(key for key in copy.wanted if ledger.is_stuck(ledger.items[key]))
                self._fail_lost(copy, commands)

    def _fail_lost(self, copy: Copy, commands: list[Command]) -> None:
        """Fail items of a lost copy that have no attempt left and no other copy in flight."""
        items = self._ledger.items
        lost = [key for key in copy.wanted if items[key].attempts >= ATTEMPTS_MAX and not items[key].is_in_flight]
        self._fail([key for key in lost if not items[key].refused], Absence.EACH_WORKER_LOST, commands)
        self._fail([key for key in lost if key in items], Absence.NO_VALID_REPLY, commands)

    def _fail_hopeless(self, keys: list[int], commands: list[Command]) -> None:
        hopeless = [key for key in keys if self._ledger.is_hopeless(self._ledger.items[key])]
        self._fail(hopeless, Absence.NO_VALID_REPLY, commands)

    def _fail(self, keys: list[int], absence: Absence, commands: list[Command]) -> None:
        for key in keys:
            self._finish(key, commands)
        if keys:
            commands.append(Fail(tuple(keys), absence))

    def _fail_if_absent(self, now_s: float, number: int, commands: list[Command]) -> None:
        """Fail all items of a shard when the broker or its workers have been absent for longer than the grace time."""
        absence = self.absence(now_s, number)
        shard = self._ledger.shards[number]
        if absence is not None:
            self._fail(list(shard.items), absence, commands)
