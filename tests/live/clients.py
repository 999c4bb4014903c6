"""Clients that change a graph and plan on it at the same time, and record each call."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final

from planmesh.client import AsyncClient, Change, Detail, Plan, UpdateBatch, UpdateResult
from planmesh.errors import DeadlineExceeded, NoPath, Overloaded, PlanmeshError, Unavailable, VersionConflict
from tests.live.history import EXCUSED, OK, Asked, Pair, Record, Update, change_record
from tests.live.model import Model, TargetMissingError
from tests.live.random_changes import RandomChanges

PLAN_S_MAX: Final = 6.0
"""Time limit of plans: twice as long as a fault lasts."""

UPDATE_S_MAX: Final = 4.0

IMPATIENT_S: Final = 0.02
"""Time limit of a few updates, whose outcome is then unknown though no process has failed."""

PAUSE_S: Final = 0.05
"""Between a call that failed because of a fault and the next, so that a fault does not meet thousands of calls."""

SETTLED_S_MAX: Final = 90.0
"""Time in which an update must have an outcome, though a fault lasts seconds."""

READERS: Final = 3
"""Every so many-th client only plans: it goes on while the others wait for the outcome of an update."""

UPDATES_SHARE: Final = 0.65
"""Of the calls of the other clients."""

STREAMS_SHARE: Final = 0.1
"""Of the updates."""

STREAMED_MAX: Final = 5
PAIRS_MAX: Final = 6
RECENT: Final = 30
AGAIN_SHARE: Final = 0.2
"""Of the plans: pairs that were answered a moment ago, on the same or on any version, so that caches are asked too."""

OLDER_MAX: Final = 60
"""Versions that at_version goes back at most."""


class Shared:
    """What all clients of a run have together."""

    def __init__(self, about: Model, version: int, calls: int) -> None:
        self.about = about
        """Near the newest version: batches are applied in the order in which their acknowledgements arrive."""
        self.records: list[Record] = []
        self.recent: deque[tuple[Pair, int]] = deque(maxlen=RECENT)
        """Pairs that were answered, and their versions."""
        self.newest = version
        """The newest version that a client has seen."""
        self.calls = calls
        """Calls to make, without those that a fault has failed."""
        self.done = 0
        self.ended = asyncio.Event()
        """Set when a call has ended, with any outcome; made anew by who waits for the next."""
        self.faulty = True
        """Whether faults are still to come, or have not been healed."""

    @property
    def going_on(self) -> bool:
        return self.done < self.calls or self.faulty

    def note(self, outcome: str) -> None:
        """Count a call that has ended."""
        self.done += outcome not in EXCUSED
        self.ended.set()


class RandomClient:
    """One client: a connection to each gateway, and the last version that it has seen on any."""

    def __init__(self, shared: Shared, addresses: Sequence[str], number: int, seed: int, nodes: int) -> None:
        self._shared = shared
        self._clients = [AsyncClient(address, timeout_s=PLAN_S_MAX) for address in addresses]
        self._number = number
        self._chance = random.Random(f"{seed}.{number}")
        self._draws = RandomChanges(shared.about, self._chance, number, nodes)
        self._seen = shared.newest
        self._keys = 0

    async def run(self) -> None:
        """Call until the run ends. Every update has an outcome then."""
        async with self._connected():
            while self._shared.going_on:
                if self._number % READERS and self._chance.random() < UPDATES_SHARE:
                    streams = self._chance.random() < STREAMS_SHARE
                    await (self._update_on_a_stream() if streams else self._update())
                else:
                    await self._plan()

    async def plan_last(self, pairs: Sequence[Pair]) -> None:
        """Plan pairs on the newest version, past all caches."""
        async with self._connected():
            await self._plan_many(pairs, {"min_version": self._seen}, bypass_cache=True)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as connections:
            for client in self._clients:
                await connections.enter_async_context(client)
            yield

    @property
    def _client(self) -> AsyncClient:
        """One of the connections, another each time."""
        return self._chance.choice(self._clients)

    async def _update(self) -> None:
        options = self._new_batch()
        limit_s = IMPATIENT_S if self._chance.random() < 0.04 else UPDATE_S_MAX
        attempt = await self._attempt(options, limit_s)
        await self._settle(options, attempt)
        if self._chance.random() < 0.05:
            await self._settle(options, await self._attempt(options, UPDATE_S_MAX))

    def _new_batch(self) -> dict[str, Any]:
        """Draw a batch: the arguments of `update_graph`."""
        self._keys += 1
        changes: list[Change] = []
        while not changes:
            changes = self._draws.batch()
        batch: dict[str, Any] = {"changes": changes, "key": f"c{self._number}.{self._keys}"}
        batch["ignore_missing"] = self._chance.random() < 0.2
        if self._chance.random() < 0.15:
            batch["if_version"] = self._chance.choice([self._seen, self._shared.newest, self._shared.newest])
        return batch

    async def _settle(self, batch: dict[str, Any], attempt: Update) -> None:
        """Repeat a batch until it has an outcome."""
        first_s = time.monotonic()
        while attempt.outcome in EXCUSED:
            assert time.monotonic() < first_s + SETTLED_S_MAX, f"expected an outcome of an update, got {attempt}"
            await asyncio.sleep(PAUSE_S)
            attempt = await self._attempt(batch, UPDATE_S_MAX)
        if attempt.outcome == OK and not attempt.repeated:
            # An earlier version may not have been acknowledged yet.
            with suppress(TargetMissingError):
                self._shared.about.apply(batch["changes"], ignore_missing=batch["ignore_missing"])

    async def _attempt(self, batch: dict[str, Any], limit_s: float) -> Update:
        begin_s = time.monotonic()
        try:
            result: UpdateResult | PlanmeshError = await self._client.update_graph(timeout_s=limit_s, **batch)
        except PlanmeshError as error:
            result = error
        return self._note_update(batch, begin_s, result)

    async def _update_on_a_stream(self) -> None:
        """Send several batches without waiting for the answers. Those that get none are settled one by one."""
        batches = [self._new_batch() for _ in range(self._chance.randint(2, STREAMED_MAX))]
        stream = f"s{self._number}.{self._keys}"
        begin_s = time.monotonic()
        attempts: list[Update] = []
        sent = [UpdateBatch(**batch) for batch in batches]
        try:
            async for answer in self._client.update_graph_stream(sent, timeout_s=UPDATE_S_MAX):
                result = answer.update or answer.error
                assert answer.index == len(attempts), f"expected answer {len(attempts)}, got {answer}"
                assert result is not None
                attempts.append(self._note_update(batches[answer.index], begin_s, result, stream))
        except PlanmeshError as error:
            unanswered = batches[len(attempts) :]
            attempts += [self._note_update(batch, begin_s, error, stream) for batch in unanswered]
        for batch, attempt in zip(batches, attempts, strict=True):
            await self._settle(batch, attempt)

    def _note_update(
        self, batch: dict[str, Any], begin_s: float, result: UpdateResult | PlanmeshError, stream: str = ""
    ) -> Update:
        found: dict[str, Any] = {"outcome": OK}
        if isinstance(result, PlanmeshError):
            found = {"outcome": type(result).__name__, "message": result.message}
            if isinstance(result, VersionConflict):
                found["version"] = int(result.metadata["version"])
        else:
            found |= {"version": result.version, "repeated": result.repeated_attempt}
        records = [change_record(change) for change in batch["changes"]]
        fields = {**batch, **found, "changes": records, "stream": stream}
        attempt = Update(client=self._number, begin_s=begin_s, end_s=time.monotonic(), **fields)
        self._record(attempt)
        self._shared.note(attempt.outcome)
        return attempt

    async def _plan(self) -> None:
        options: dict[str, Any] = {}
        drawn = self._chance.random()
        if drawn < 0.5:
            options["min_version"] = self._seen
        elif drawn < 0.65:
            options["at_version"] = max(1, self._shared.newest - self._chance.randrange(OLDER_MAX))
        if self._shared.recent and self._chance.random() < AGAIN_SHARE:
            pair, version = self._chance.choice(self._shared.recent)
            again = {"at_version": version} if self._chance.random() < 0.5 else options
            await self._plan_one(pair, again)
            return
        drawn = self._chance.random()
        if drawn < 0.1:
            await self._matrix(options)
            return
        pairs = self._draws.pairs(1 if drawn < 0.8 else PAIRS_MAX)
        if self._chance.random() < 0.15:
            options["avoid_nodes"], options["avoid_edges"] = self._draws.avoided(pairs)
        if len(pairs) == 1:
            await self._plan_one(pairs[0], options)
        else:
            await self._plan_many(pairs, options)

    async def _plan_one(self, pair: Pair, options: dict[str, Any]) -> None:
        begin_s = time.monotonic()
        result: Plan | PlanmeshError
        try:
            result = plan = await self._client.plan(*pair, detail=self._detail(), **options)
        except PlanmeshError as error:
            result = error
        else:
            self._shared.recent.append((pair, plan.version))
        self._note_plan("plan", pair, begin_s, options, result)
        await self._end_call(result)

    async def _plan_many(self, pairs: Sequence[Pair], options: dict[str, Any], *, bypass_cache: bool = False) -> None:
        begin_s = time.monotonic()
        left = set(range(len(pairs)))
        failure: PlanmeshError | None = None
        try:
            settings: dict[str, Any] = {"detail": self._detail(), "bypass_cache": bypass_cache, "timeout_s": PLAN_S_MAX}
            async for answer in self._client.plan_many(pairs, **settings, **options):
                assert answer.index in left, f"expected an answer to each pair once, got two to {answer.index}"
                left.discard(answer.index)
                result = answer.plan or answer.error
                assert result is not None
                self._note_plan("many", pairs[answer.index], begin_s, options, result)
        except PlanmeshError as error:
            failure = error
        assert failure is not None or not left, f"expected an answer to each pair, got none to {left}"
        for index in left:
            assert failure is not None
            self._note_plan("many", pairs[index], begin_s, options, failure)
        await self._end_call(failure)

    async def _matrix(self, options: dict[str, Any]) -> None:
        sources = [self._draws.node() for _ in range(3)]
        targets = [self._draws.node() for _ in range(3)]
        cells = [(source, target) for source in sources for target in targets]
        begin_s = time.monotonic()
        try:
            matrix = await self._client.plan_matrix(sources, targets, timeout_s=PLAN_S_MAX, **options)
        except PlanmeshError as error:
            named = error.metadata.get("node", "")
            self._note_plan("matrix", next((one for one in cells if named in one), cells[0]), begin_s, options, error)
            await self._end_call(error)
            return
        await self._end_call(matrix)
        costs = [cost for row in matrix.rows for cost in row]
        for cell, cost in zip(cells, costs, strict=True):
            there_is = cost != float("inf")
            self._note_plan(
                *("matrix", cell, begin_s, options, None),
                outcome=OK if there_is else NoPath.__name__,
                version=matrix.version,
                cost=cost if there_is else 0.0,
            )

    def _detail(self) -> Detail:
        return self._chance.choice([Detail.COST, Detail.NODES, Detail.STEPS])

    def _note_plan(
        self,
        method: str,
        pair: Pair,
        begin_s: float,
        options: dict[str, Any],
        result: Plan | PlanmeshError | None,
        **found: Any,
    ) -> None:
        end_s = time.monotonic()
        if isinstance(result, PlanmeshError):
            found = {"outcome": type(result).__name__, "named": result.metadata.get("node", "")}
            found["message"] = result.message
        elif result is not None:
            assert (result.start, result.goal) == pair, f"expected a plan of {pair}, got {result}"
            found = {"outcome": OK, "version": result.version, "cost": result.cost, "cached": result.cached}
            if result.detail is not Detail.COST:
                found |= {"nodes": list(result.nodes), "step_costs": list(result.step_costs)}
        start, goal = pair
        self._record(
            Asked(
                client=self._number,
                start=start,
                goal=goal,
                begin_s=begin_s,
                end_s=end_s,
                method=method,
                **found,
                **options,
            )
        )

    def _record(self, record: Update | Asked) -> None:
        self._shared.records.append(record)
        self._seen = max(self._seen, record.version)
        self._shared.newest = max(self._shared.newest, record.version)

    async def _end_call(self, result: object) -> None:
        self._shared.note(type(result).__name__ if isinstance(result, PlanmeshError) else OK)
        if isinstance(result, (Unavailable, DeadlineExceeded, Overloaded)):
            await asyncio.sleep(PAUSE_S)
