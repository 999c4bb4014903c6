"""How work for shards is gathered, sent, repeated and dropped: a pure state machine, time and events in, commands out.

Work for a shard that has little under way goes at once; else it gathers and travels together in the next task. Each
task that is sent is a *copy* of its items. A copy is overdue when no reply came within the hedge time
(`planmesh.dispatch.hedge_times`). Then the machine has the caller look whether the copy still waits in the shard's
queue. One that waits keeps its place, since a second one behind it would come no sooner. One that a worker has taken is
repeated: any free worker of the shard takes the repeat, and the first reply counts, whichever copy it answers. A copy
that nobody needs any more is withdrawn from the queue, and holds its place until that is done.

Bounds: `Policy.tasks_in_flight_max` copies in a queue or a worker, as many overdue ones beside them; ATTEMPTS_MAX and
COPIES_MAX of one item. An item that reaches them waits for replies that may still come, until its caller drops it; when
all its copies went with workers that are missed, it fails.

Times are seconds of one monotonic clock, which the caller reads.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from planmesh.dispatch.batching_commands import (
    Absence,
    Command,
    Complete,
    Fail,
    Forget,
    Look,
    Policy,
    Repeated,
    Send,
    Withdraw,
)
from planmesh.dispatch.batching_state import BECOMES_DUE, Copy, Item, Shard, State
from planmesh.dispatch.hedge_times import HedgeTimes

ATTEMPTS_MAX: Final = 6
"""Copies of one item in all: work that kills its worker or is always refused must not go round until its deadline."""

COPIES_MAX: Final = 3
"""Copies of one item that count as under way: beyond it the oldest that is overdue is given up for a new one. A slow
shard is not flooded, for the waits double."""

REFUSED_AT_ONCE_MAX: Final = 3
"""Attempts after which work whose answer was refused waits for its hedge time: a worker that is wrong once may be right
the next time, one that always is must not be kept busy with it."""

SMALL_FROM_ATTEMPT: Final = 3
"""Items of which two copies brought no answer travel in small batches, and then alone: one of them may be what costs
all others their answers."""

SMALL_BATCH_ITEMS: Final = 8
"""Items of a small batch: the square root of a usual one, so that two steps find the one among 64."""

WORKER_LOSS_AGE_S: Final = 1.0
"""A worker that is missed has been silent for about two seconds, so it can have taken only copies that are older."""

REMEMBERED_MAX: Final = 1_024
"""Copies that are remembered after their end, to learn from their late replies; about 100 bytes each."""


class Batching:
    """The state of all shards. Every event returns the commands to be carried out, in their order."""

    def __init__(self, policy: Policy, now_s: float) -> None:
        self._policy = policy
        self._numbers = itertools.count(1)
        self._items: dict[int, Item] = {}
        self._copies: dict[int, Copy] = {}
        self._ended: OrderedDict[int, tuple[int, float]] = OrderedDict()
        """Shard and time of sending of copies whose reply may still come."""
        self._due: list[tuple[float, int]] = []
        self._shards = [Shard(HedgeTimes(policy.hedge_floor_s), silent_since_s=now_s) for _ in range(policy.shards)]
        self._broker_down_since_s: float | None = None

    # Events.

    def ask(self, now_s: float, key: int, shard: int) -> list[Command]:
        """An item that was never asked for before."""
        assert key not in self._items, key
        item = self._items[key] = self._shards[shard].items[key] = Item(shard, now_s)
        self._shards[item.shard].waiting[key] = None
        return self._flush(now_s, shard, [])

    def drop(self, now_s: float, key: int) -> list[Command]:
        """Nobody waits for an item any more; does nothing when it has been answered."""
        item = self._items.get(key)
        if item is None:
            return []
        commands: list[Command] = []
        self._finish(key, commands)
        return self._flush(now_s, item.shard, commands)

    def reply(self, now_s: float, copy_number: int, answered: Collection[int]) -> list[Command]:
        """A reply to a copy came, with a right answer to the items `answered`; others that it carried have none."""
        commands: list[Command] = []
        copy = self._copies.get(copy_number)
        if copy is not None:
            self._end(copy, commands)
        new = tuple(key for key in dict.fromkeys(answered) if key in self._items)
        touched = {self._items[key].shard for key in new}
        for key in new:
            self._finish(key, commands)
        if new:
            commands.append(Complete(new))
        if copy is None:
            ended = self._ended.pop(copy_number, None)
            if ended is not None:
                self._shards[ended[0]].hedges.note(now_s - ended[1])
        else:
            touched.add(copy.shard)
            self._ended.pop(copy_number, None)
            unanswered = [key for key in copy.wanted if key in self._items]
            if unanswered:
                self._repeat_refused(copy, unanswered)
            else:
                self._shards[copy.shard].hedges.note(now_s - copy.sent_at_s)
        for shard in sorted(touched):
            self._flush(now_s, shard, commands)
        return commands

    def unsent(self, now_s: float, copy_number: int) -> list[Command]:
        """The broker did not take a copy: its items wait until it is back."""
        commands: list[Command] = []
        copy = self._copies.get(copy_number)
        if copy is not None:
            self._end(copy, commands)
            for key in copy.wanted:
                self._items[key].attempts -= 1
            self._put_back(copy.wanted)
        return commands + self.broker_down(now_s)

    def looked(self, now_s: float, copy_number: int, *, waits: bool) -> list[Command]:
        """Whether an overdue copy still waits in its queue; True also when nobody knows."""
        copy = self._copies.get(copy_number)
        if copy is None or copy.state is not State.LOOKING:
            return []
        shard = self._shards[copy.shard]
        if waits or (shard.workers and len(shard.overdue) >= self._in_flight_max(shard)):
            copy.state = State.SENT
            copy.looks += 1
            self._arm(copy, now_s + shard.hedges.delay_s(copy.attempt + copy.looks))
            return []
        commands: list[Command] = []
        is_last = copy.worker_missed and not any(self._items[key].attempts < ATTEMPTS_MAX for key in copy.wanted)
        if shard.workers and not is_last:
            self._make_room(copy, commands)
            repeated = tuple(key for key in copy.wanted if self._may_repeat(self._items[key]))
            shard.in_flight.discard(copy_number)
            copy.state = State.OVERDUE
            shard.overdue.add(copy_number)
        else:
            # It went with the worker that took it, so it counts no more among its items' copies.
            self._end(copy, commands)
            repeated = tuple(key for key in copy.wanted if self._may_repeat(self._items[key]))
            self._fail_lost(copy, commands)
        if repeated:
            self._put_back(repeated)
            commands.append(Repeated(copy.shard, repeated, copy.attempt))
        return self._flush(now_s, copy.shard, commands)

    def withdrawn(self, now_s: float, copy_number: int, *, unread: bool) -> list[Command]:
        """A copy that nobody needs is out of its queue: `unread` when it was still there, else a worker took it."""
        copy = self._copies.get(copy_number)
        if copy is None or copy.state is not State.WITHDRAWING:
            return []
        commands: list[Command] = []
        self._end(copy, commands)
        if unread:
            del self._ended[copy_number]
        return self._flush(now_s, copy.shard, commands)

    def wake(self, now_s: float) -> list[Command]:
        """The time of `wake_at_s` has come."""
        commands: list[Command] = []
        while self._due and self._due[0][0] <= now_s:
            due_at_s, number = heapq.heappop(self._due)
            copy = self._copies.get(number)
            if copy is None or copy.due_at_s != due_at_s:
                continue
            if copy.state is State.SENT:
                copy.state = State.LOOKING
                commands.append(Look(number))
            elif copy.state is State.REFUSED:
                self._end(copy, commands)
                self._put_back(key for key in copy.wanted if self._may_repeat(self._items[key]))
                self._flush(now_s, copy.shard, commands)
        return commands

    def workers(self, now_s: float, live: Mapping[int, int], missed: Mapping[int, int] | None = None) -> list[Command]:
        """The broker answered: how many live workers each shard has, and how many were lost since the last time.

        Another worker may have taken the place of a lost one, so the numbers of live ones do not show every loss.
        """
        self._broker_down_since_s = None
        commands: list[Command] = []
        for number, shard in enumerate(self._shards):
            before, shard.workers = shard.workers, live.get(number, 0)
            if shard.workers:
                shard.silent_since_s = None
            elif shard.silent_since_s is None:
                shard.silent_since_s = now_s
            if shard.workers < before or (missed or {}).get(number, 0):
                self._miss_worker(now_s, number, commands)
            self._flush(now_s, number, commands)
            self._fail_if_away(now_s, number, commands)
        return commands + self.wake(now_s)

    def broker_down(self, now_s: float) -> list[Command]:
        """The broker did not answer."""
        if self._broker_down_since_s is None:
            self._broker_down_since_s = now_s
        commands: list[Command] = []
        for number in range(len(self._shards)):
            self._fail_if_away(now_s, number, commands)
        return commands

    # What the caller may know.

    def wake_at_s(self) -> float | None:
        """When `wake` is to be called next; None while nothing is under way."""
        while self._due:
            due_at_s, number = self._due[0]
            copy = self._copies.get(number)
            if copy is not None and copy.due_at_s == due_at_s and copy.state in {State.SENT, State.REFUSED}:
                return due_at_s
            heapq.heappop(self._due)
        return None

    def wanted(self, copy_number: int) -> tuple[int, ...]:
        """The items of a copy that are not answered, for what is about to send it."""
        copy = self._copies.get(copy_number)
        return () if copy is None else tuple(copy.wanted)

    def away(self, now_s: float, shard: int) -> Absence | None:
        """What has been out of a shard's reach for longer than the grace time."""
        since_s = self._broker_down_since_s
        if since_s is not None and now_s - since_s > self._policy.worker_grace_s:
            return Absence.BROKER
        since_s = self._shards[shard].silent_since_s
        if since_s is not None and now_s - since_s > self._policy.worker_grace_s:
            return Absence.WORKER
        return None

    @property
    def broker_up(self) -> bool:
        """The broker answered last time."""
        return self._broker_down_since_s is None

    @property
    def items(self) -> int:
        """Items that are not answered."""
        return len(self._items)

    def live_workers(self, shard: int) -> int:
        """Live workers of a shard."""
        return self._shards[shard].workers

    def pending_items(self, shard: int) -> int:
        """Items of a shard that are not answered."""
        return len(self._shards[shard].items)

    def oldest_wait_s(self, now_s: float, shard: int) -> float:
        """How long the item that waits longest for a shard has waited; 0 when none waits."""
        oldest = next(iter(self._shards[shard].items.values()), None)
        return 0.0 if oldest is None else now_s - oldest.asked_at_s

    def hedge_s(self, shard: int) -> float:
        """Hedge time of a shard's first attempts."""
        return self._shards[shard].hedges.hedge_s

    def attempts(self, key: int) -> int:
        """Copies of an unanswered item that were sent."""
        return self._items[key].attempts

    def copies_under_way(self, shard: int) -> int:
        """Copies of a shard that wait in its queue, or that a worker has."""
        return len(self._shards[shard].in_flight) + len(self._shards[shard].overdue)

    # Inside.

    def _in_flight_max(self, shard: Shard) -> int:
        return self._policy.tasks_in_flight_max * max(1, shard.workers)

    def _flush(self, now_s: float, number: int, commands: list[Command]) -> list[Command]:
        """Send what waits for a shard, as far as its copies under way allow."""
        shard = self._shards[number]
        in_flight_max = self._in_flight_max(shard)
        while shard.waiting and shard.workers and self.broker_up and len(shard.in_flight) < in_flight_max:
            keys = self._take_batch(shard)
            items = [self._items[key] for key in keys]
            copy = Copy(next(self._numbers), number, dict.fromkeys(keys), now_s, 0)
            for item in items:
                item.attempts += 1
                item.copies.append(copy)
            copy.attempt = max(item.attempts for item in items)
            self._copies[copy.number] = copy
            shard.in_flight.add(copy.number)
            self._arm(copy, now_s + shard.hedges.delay_s(copy.attempt))
            commands.append(Send(copy.number, number, tuple(keys), copy.attempt))
        return commands

    def _take_batch(self, shard: Shard) -> list[int]:
        """Take the items of the next copy from those that wait."""
        keys: list[int] = []
        items_max = self._policy.batch_items_max
        while shard.waiting:
            key = next(iter(shard.waiting))
            attempt = self._items[key].attempts + 1
            if attempt >= SMALL_FROM_ATTEMPT:
                items_max = min(items_max, SMALL_BATCH_ITEMS if attempt == SMALL_FROM_ATTEMPT else 1)
            if keys and len(keys) >= items_max:
                break
            del shard.waiting[key]
            keys.append(key)
        return keys

    def _arm(self, copy: Copy, due_at_s: float) -> None:
        copy.due_at_s = due_at_s
        heapq.heappush(self._due, (due_at_s, copy.number))

    def _may_repeat(self, item: Item) -> bool:
        return item.attempts < ATTEMPTS_MAX and len(item.copies) < COPIES_MAX

    def _make_room(self, copy: Copy, commands: list[Command]) -> None:
        """Give up the oldest overdue copy of each item that has as many as it may: no worker holds an item for ever."""
        for key in copy.wanted:
            item = self._items[key]
            if item.attempts >= ATTEMPTS_MAX or len(item.copies) < COPIES_MAX:
                continue
            oldest = next((other for other in item.copies if other.state is State.OVERDUE), None)
            if oldest is None:
                continue
            item.copies.remove(oldest)
            del oldest.wanted[key]
            if not oldest.wanted:
                self._end(oldest, commands)

    def _is_stuck(self, item: Item) -> bool:
        """Whether no copy of an item will become due, though it may be sent again."""
        return self._may_repeat(item) and not any(copy.state in BECOMES_DUE for copy in item.copies)

    def _put_back(self, keys: Iterable[int]) -> None:
        """Have items wait before all others."""
        for key in reversed(list(keys)):
            waiting = self._shards[self._items[key].shard].waiting
            waiting[key] = None
            waiting.move_to_end(key, last=False)

    def _repeat_refused(self, copy: Copy, unanswered: list[int]) -> None:
        """Send items without a right answer again: at once, or, after some attempts, when the hedge time is over."""
        repeatable = [key for key in unanswered if self._may_repeat(self._items[key])]
        if copy.attempt <= REFUSED_AT_ONCE_MAX:
            self._put_back(repeatable)
        elif repeatable:
            copy.state = State.REFUSED
            copy.wanted = dict.fromkeys(repeatable)
            self._copies[copy.number] = copy
            for key in repeatable:
                self._items[key].copies.append(copy)
            heapq.heappush(self._due, (copy.due_at_s, copy.number))

    def _finish(self, key: int, commands: list[Command]) -> None:
        """Forget an item. Copies that carry nothing else are needed no more; a broker that is away lets them expire."""
        item = self._items.pop(key)
        shard = self._shards[item.shard]
        del shard.items[key]
        shard.waiting.pop(key, None)
        for copy in item.copies:
            copy.wanted.pop(key, None)
            if copy.wanted:
                continue
            if copy.state in {State.SENT, State.LOOKING} and self.broker_up:
                copy.state = State.WITHDRAWING
                commands.append(Withdraw(copy.number))
            elif copy.state is not State.WITHDRAWING:
                self._end(copy, commands)

    def _end(self, copy: Copy, commands: list[Command]) -> None:
        """Take a copy for no longer under way. Its reply may still teach a latency."""
        shard = self._shards[copy.shard]
        del self._copies[copy.number]
        shard.in_flight.discard(copy.number)
        shard.overdue.discard(copy.number)
        for key in copy.wanted:
            self._items[key].copies.remove(copy)
        if copy.state is State.REFUSED:
            return
        self._ended[copy.number] = (copy.shard, copy.sent_at_s)
        if len(self._ended) > REMEMBERED_MAX:
            self._ended.popitem(last=False)
        commands.append(Forget(copy.number))

    def _miss_worker(self, now_s: float, number: int, commands: list[Command]) -> None:
        """A worker of a shard is gone, and any copy that is old enough may be gone with it: look at once."""
        shard = self._shards[number]
        old = [self._copies[copy] for copy in sorted(shard.in_flight | shard.overdue)]
        for copy in old:
            if shard.workers and copy.sent_at_s > now_s - WORKER_LOSS_AGE_S:
                continue  # one of the workers that are left has it; where none is left, all that was taken is lost
            copy.worker_missed = True
            if copy.state is State.SENT:
                self._arm(copy, now_s)
            elif copy.state is State.OVERDUE:
                self._end(copy, commands)
                self._put_back(key for key in copy.wanted if self._is_stuck(self._items[key]))
                self._fail_lost(copy, commands)

    def _fail_lost(self, copy: Copy, commands: list[Command]) -> None:
        """Give up on items of a lost copy that may not be sent again, and of which no other copy is under way."""
        lost = tuple(
            key for key in copy.wanted if self._items[key].attempts >= ATTEMPTS_MAX and not self._items[key].copies
        )
        for key in lost:
            self._finish(key, commands)
        if lost:
            commands.append(Fail(lost, Absence.EACH_WORKER_LOST))

    def _fail_if_away(self, now_s: float, number: int, commands: list[Command]) -> None:
        """Give up on a shard's items when it has been out of reach for too long."""
        absence = self.away(now_s, number)
        shard = self._shards[number]
        if absence is None or not shard.items:
            return
        keys = tuple(shard.items)
        for key in keys:
            self._finish(key, commands)
        commands.append(Fail(keys, absence))
