"""The bookkeeping of `planmesh.dispatch.batching`: unanswered items, their copies, and the shards that they wait for.

The ledger keeps the cross references consistent: an item lists its copies in flight, a copy lists its unanswered items,
and a shard lists both. When to send, repeat or fail is the machine's decision.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final

from planmesh.dispatch.batching_commands import Command, Forget, Policy, Withdraw
from planmesh.dispatch.batching_state import BECOMES_DUE, Copy, Item, Shard, State
from planmesh.dispatch.hedge_times import HedgeTimes

ATTEMPTS_MAX: Final = 6
"""Copies of one item in total. It bounds how many workers an item can crash, and how often a refused item is sent."""

COPIES_MAX: Final = 3
"""Copies of one item in flight. To send one more, the machine first drops the oldest overdue one from its count. Hedge
times double with each attempt, so this does not flood a slow shard."""

SMALL_FROM_ATTEMPT: Final = 3
"""From this attempt on, items travel in small batches, and from the next one on alone: after two failed copies, one of
the items may be what costs all the others their answers."""

SMALL_BATCH_ITEMS: Final = 8
"""Items of a small batch: the square root of a full one, so that two steps isolate one bad item among 64."""

REMEMBERED_MAX: Final = 1_024
"""Ended copies whose late replies still update the hedge times; about 100 bytes each."""


class Ledger:
    """All unanswered items and all copies in flight. Methods that end a copy append the commands that follow."""

    def __init__(self, policy: Policy, now_s: float) -> None:
        self._policy = policy
        self._numbers = itertools.count(1)
        self._due: list[tuple[float, int]] = []
        """Heap of due times and copy numbers. An entry is stale when the copy has ended or has another due time."""
        self.items: dict[int, Item] = {}
        self.exhausted: dict[int, None] = {}
        """Keys of the items that were sent ATTEMPTS_MAX times."""
        self.unreadable = 0
        """Replies that could not be read, so that nobody knows which copies they answered."""
        self.copies: dict[int, Copy] = {}
        self.ended: OrderedDict[int, tuple[int, float]] = OrderedDict()
        """Shard and time of sending of ended copies, at most REMEMBERED_MAX, the oldest first."""
        self.shards = [Shard(HedgeTimes(policy.hedge_floor_s), silent_since_s=now_s) for _ in range(policy.shards)]

    # Items.

    def add(self, key: int, shard: int, now_s: float) -> None:
        """Append a new item to those that wait for its shard."""
        assert key not in self.items, key
        self.items[key] = self.shards[shard].items[key] = Item(shard, now_s, self.unreadable)
        self.shards[shard].waiting[key] = None

    def put_back(self, keys: Iterable[int]) -> None:
        """Queue items again, in their order, before all items that wait."""
        for key in reversed(list(keys)):
            waiting = self.shards[self.items[key].shard].waiting
            waiting[key] = None
            waiting.move_to_end(key, last=False)

    def may_repeat(self, item: Item) -> bool:
        """Whether both ATTEMPTS_MAX and COPIES_MAX allow another copy of the item."""
        return item.attempts < ATTEMPTS_MAX and len(item.copies) < COPIES_MAX

    def is_stuck(self, item: Item) -> bool:
        """Whether the item may be repeated, but none of its copies will become due and cause that."""
        return self.may_repeat(item) and not any(copy.state in BECOMES_DUE for copy in item.copies)

    def is_hopeless(self, item: Item) -> bool:
        """Whether the item may not be sent again, and no valid reply to it can be expected.

        Either each of its copies was lost or had a reply that was refused. Or replies came, since it was asked for,
        that could not be read: enough for all its other copies, each of which is overdue.
        """
        if item.attempts < ATTEMPTS_MAX:
            return False
        unanswered = item.attempts - item.refused - item.lost
        if unanswered <= 0:
            return True
        is_awaited = any(copy.state in {State.SENT, State.LOOKING} for copy in item.copies)
        return not is_awaited and self.unreadable - item.unreadable_before >= unanswered

    def finish(self, key: int, commands: list[Command], *, withdraw: bool) -> None:
        """Remove an item, and end the copies that carry no other unanswered item.

        With `withdraw`, copies that may still be queued are withdrawn instead, and end when that is done. Without it
        (the broker is down) they expire in the queue.
        """
        item = self.items.pop(key)
        self.exhausted.pop(key, None)
        shard = self.shards[item.shard]
        del shard.items[key]
        shard.waiting.pop(key, None)
        for copy in item.copies:
            copy.wanted.pop(key, None)
            if copy.wanted:
                continue
            if copy.state in {State.SENT, State.LOOKING} and withdraw:
                copy.state = State.WITHDRAWING
                commands.append(Withdraw(copy.number))
            elif copy.state is not State.WITHDRAWING:
                self.end(copy, commands)

    # Copies.

    def make_copy(self, number: int, now_s: float) -> Copy:
        """Put the first items that wait for a shard into a new copy, which is then in flight."""
        shard = self.shards[number]
        keys = self._take_batch(shard)
        items = [self.items[key] for key in keys]
        copy = Copy(next(self._numbers), number, dict.fromkeys(keys), now_s, 0)
        for key, item in zip(keys, items, strict=True):
            item.attempts += 1
            item.copies.append(copy)
            if item.attempts == ATTEMPTS_MAX:
                self.exhausted[key] = None
        copy.attempt = max(item.attempts for item in items)
        self.copies[copy.number] = copy
        shard.in_flight.add(copy.number)
        shard.sending.add(copy.number)
        self.arm(copy, now_s + shard.hedges.delay_s(copy.attempt))
        return copy

    def keep_refused(self, copy: Copy, keys: list[int]) -> None:
        """Keep an ended copy, with the items that its reply did not answer, until the due time that it had."""
        copy.state = State.REFUSED
        copy.wanted = dict.fromkeys(keys)
        self.copies[copy.number] = copy
        for key in keys:
            self.items[key].copies.append(copy)
        heapq.heappush(self._due, (copy.due_at_s, copy.number))

    def make_room(self, copy: Copy, commands: list[Command]) -> None:
        """For each item of `copy` that has COPIES_MAX copies, remove the item from its oldest overdue copy.

        A worker that holds an item for ever thus cannot prevent further copies.
        """
        for key in copy.wanted:
            item = self.items[key]
            if item.attempts >= ATTEMPTS_MAX or len(item.copies) < COPIES_MAX:
                continue
            oldest = next((other for other in item.copies if other.state is State.OVERDUE), None)
            if oldest is None:
                continue
            item.copies.remove(oldest)
            del oldest.wanted[key]
            if not oldest.wanted:
                self.end(oldest, commands)

    def end(self, copy: Copy, commands: list[Command]) -> None:
        """Remove a copy from those in flight. If its reply still comes, its latency updates the hedge time."""
        shard = self.shards[copy.shard]
        del self.copies[copy.number]
        shard.in_flight.discard(copy.number)
        shard.overdue.discard(copy.number)
        shard.sending.discard(copy.number)
        for key in copy.wanted:
            self.items[key].copies.remove(copy)
        if copy.state is State.REFUSED:
            return
        self.ended[copy.number] = (copy.shard, copy.sent_at_s)
        if len(self.ended) > REMEMBERED_MAX:
            self.ended.popitem(last=False)
        commands.append(Forget(copy.number))

    def take_back(self, copy: Copy, commands: list[Command]) -> None:
        """End a copy that was not sent, and queue its items again. The attempt does not count."""
        self.end(copy, commands)
        for key in copy.wanted:
            self.items[key].attempts -= 1
            self.exhausted.pop(key, None)
        self.put_back(copy.wanted)

    def lose(self, copy: Copy, commands: list[Command]) -> None:
        """End a copy that was lost with its worker."""
        for key in copy.wanted:
            self.items[key].lost += 1
        self.end(copy, commands)

    def _take_batch(self, shard: Shard) -> list[int]:
        keys: list[int] = []
        items_max = self._policy.batch_items_max
        while shard.waiting:
            key = next(iter(shard.waiting))
            attempt = self.items[key].attempts + 1
            if attempt >= SMALL_FROM_ATTEMPT:
                items_max = min(items_max, SMALL_BATCH_ITEMS if attempt == SMALL_FROM_ATTEMPT else 1)
            if keys and len(keys) >= items_max:
                break
            del shard.waiting[key]
            keys.append(key)
        return keys

    # Due times.

    def arm(self, copy: Copy, due_at_s: float) -> None:
        """Set when a copy becomes due; it replaces the earlier time."""
        copy.due_at_s = due_at_s
        heapq.heappush(self._due, (due_at_s, copy.number))

    def pop_due(self, now_s: float) -> Iterator[Copy]:
        """Remove and yield the copies that are due, the earliest first."""
        while self._due and self._due[0][0] <= now_s:
            due_at_s, number = heapq.heappop(self._due)
            copy = self.copies.get(number)
            if copy is not None and copy.due_at_s == due_at_s:
                yield copy

    def next_due_s(self) -> float | None:
        """When the next sent or refused copy becomes due; None when there is none."""
        while self._due:
            due_at_s, number = self._due[0]
            copy = self.copies.get(number)
            if copy is not None and copy.due_at_s == due_at_s and copy.state in {State.SENT, State.REFUSED}:
                return due_at_s
            heapq.heappop(self._due)
        return None
