"""The hybrid store; the package's docstring describes how answers stay fresh."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from pydantic import Field

from planmesh.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidRequest,
    LimitExceeded,
    NoPath,
    NotFound,
    PlanmeshError,
    StoreError,
    StoreUnavailable,
    Unavailable,
)
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.store.hybrid.answers import Answers
from planmesh.store.hybrid.hot_pairs import HotPairs
from planmesh.store.protocol import (
    Direction,
    GraphCounts,
    GraphReading,
    GraphReplacement,
    GraphStore,
    PatternAnswer,
    PatternLimits,
    StoreChanges,
    StoredNeighbor,
    StoredNode,
    StoredPath,
    StoreHealth,
    StoreTraits,
)
from planmesh.store.redis.store import RedisOptions
from planmesh.store.urls import StoreOptions, StoreUrl, open_parsed, parse_store_url, read_options
from planmesh.telemetry.logs import get_logger
from planmesh.ttl_rule import TtlRule

FRONT_SCHEMES: Final = ("redis", "rediss", "redis+cluster", "rediss+cluster")

AWAY: Final = (Unavailable, DeadlineExceeded)
"""Errors that mean that the front does not answer."""

CERTAIN: Final = (InvalidRequest, NotFound, LimitExceeded, Conflict, StoreError)
"""Errors of a write that was refused: nothing of that call can still take effect later."""

log = get_logger(__name__)


class HybridOptions(StoreOptions):
    """Options of hybrid://. Batch sizes and time-outs are those of the two URLs."""

    front: str = Field(description="URL of the Redis in front; its option `graph` is the name under which answers lie.")
    back: str = Field(description="URL of the store that holds the graph.")
    hot_threshold: int = Field(3, ge=1, le=1_000_000, description="Requests in the window that make a pair hot.")
    window_s: float = Field(60.0, gt=0, le=86_400, description="Length of the sliding window.")
    answer_ttl_s: float = Field(300.0, ge=0.001, le=86_400, description="How long an answer is kept.")
    answer_ttl_max_s: float = Field(
        3_600.0,
        ge=0,
        le=86_400,
        description="Bound to which `answer_ttl_s` grows while fewer than 70 % of hot requests hit; 0: it stays.",
    )
    lease_s: float = Field(
        60.0, ge=1, le=3_600, description="How long the announcement of a write lasts when its writer dies."
    )
    check_s: float = Field(1.0, ge=0, le=3_600, description="Interval of checks of the back's revision.")


@dataclass(slots=True)
class HybridStats:
    """Counts of path requests by outcome. `front_errors`: the front was down and the back answered."""

    asked: int = 0
    hot: int = 0
    hits: int = 0
    misses: int = 0
    front_errors: int = 0


async def open_url(location: StoreUrl) -> HybridStore:
    """Open both stores of a hybrid:// URL; the front is closed again when the back cannot be opened."""
    options = read_options(location, HybridOptions)
    front, back = parse_store_url(options.front), parse_store_url(options.back)
    if front.scheme not in FRONT_SCHEMES or back.kind == "hybrid":
        raise InvalidRequest(f"{location.text}: expected front=redis://… and back= another store", field="store")
    front_options = read_options(front, RedisOptions)
    answers = Answers(front, front_options.graph, front_options.timeout_s, front_options.connect_timeout_s)
    try:
        await answers.check()
        return HybridStore(location.text, answers, await open_parsed(back), options)
    except BaseException:
        await answers.close()
        raise


class HybridStore:
    """A GraphStore made of two stores, both of which it owns. See the package for its guarantees."""

    def __init__(self, shown: str, answers: Answers, back: GraphStore, options: HybridOptions) -> None:
        self._shown = shown
        self._answers = answers
        self._back = back
        self._options = options
        self._hot = HotPairs(options.window_s, options.hot_threshold)
        self._flights: dict[tuple[str, tuple[str, str]], asyncio.Task[StoredPath | None]] = {}
        self._checked_s = float("-inf")
        self._checking = asyncio.Lock()
        self.stats = HybridStats()
        self._ttl = TtlRule("hybrid", options.answer_ttl_s, options.answer_ttl_max_s)

    @property
    def answer_ttl_s(self) -> float:
        """Seconds for which answers are kept from now on."""
        return self._ttl.ttl_s

    @property
    def url(self) -> str:
        """The URL without its passwords; see GraphStore."""
        return self._shown

    @property
    def traits(self) -> StoreTraits:
        """The traits of the back, under the name "hybrid"."""
        return dataclasses.replace(self._back.traits, name="hybrid")

    async def health(self) -> StoreHealth:
        """Check both stores; see GraphStore."""
        began_s = time.perf_counter()
        await self._answers.check()
        behind = await self._back.health()
        return StoreHealth(f"Redis before {behind.server}", time.perf_counter() - began_s)

    async def revision(self) -> str:
        """Return the revision of the back; see GraphStore."""
        return await self._back.revision()

    async def counts(self) -> GraphCounts:
        """Count in the back; see GraphStore."""
        return await self._back.counts()

    def read(self) -> AbstractAsyncContextManager[GraphReading]:
        """Read the back; see GraphStore."""
        return self._back.read()

    @asynccontextmanager
    async def replace(self, position: int = 0) -> AsyncIterator[HybridReplacement]:
        """Replace the graph in the back; see GraphStore. The front stores no answers while it is written."""
        async with self._writing() as token, self._back.replace(position) as replacement:
            yield HybridReplacement(replacement, lambda: self._answers.begin_write(token, self._options.lease_s))

    async def update_state(self, nodes: NodeRows | None = None, edges: EdgeRows | None = None) -> None:
        """Write nodes, then edges, under one announcement. When it returns, no older answer can be served."""
        async with self._writing():
            if nodes is not None:
                await self._back.upsert_nodes(nodes)
            if edges is not None:
                await self._back.upsert_edges(edges)

    async def upsert_nodes(self, rows: NodeRows) -> None:
        """Write through; see GraphStore."""
        await self.update_state(nodes=rows)

    async def upsert_edges(self, rows: EdgeRows) -> None:
        """Write through; see GraphStore."""
        await self.update_state(edges=rows)

    async def delete_nodes(self, ids: Sequence[str]) -> None:
        """Write through; see GraphStore."""
        async with self._writing():
            await self._back.delete_nodes(ids)

    async def delete_edges(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Write through; see GraphStore."""
        async with self._writing():
            await self._back.delete_edges(pairs)

    async def apply_changes(self, changes: StoreChanges) -> None:
        """Write through; see GraphStore. A repeat renews the front's version even if the back has the batch.

        If the writer dies after the back has the batch, the announcement lapses later; the version that it made is
        newer than every answer from before the batch.
        """
        async with self._writing():
            await self._back.apply_changes(changes)

    async def position(self) -> int:
        """Return the position of the back, which is written before the front is notified; see GraphStore."""
        return await self._back.position()

    async def get_node(self, node: str) -> StoredNode:
        """Ask the store behind; see GraphStore."""
        return await self._back.get_node(node)

    async def neighbors(self, node: str, depth: int, direction: Direction) -> list[StoredNeighbor]:
        """Ask the store behind; see GraphStore."""
        return await self._back.neighbors(node, depth, direction)

    async def shortest_path(self, start: str, goal: str) -> StoredPath:
        """Answer from the front when the pair is hot, otherwise from the back; see GraphStore."""
        pair = (start, goal)
        self.stats.asked += 1
        if not self._hot.ask(pair, time.monotonic()):
            return await self._back.shortest_path(start, goal)
        self.stats.hot += 1
        revision = await self._revision_when_due()
        try:
            if revision is not None:
                await self._answers.see(revision)
            version, path, is_known = await self._answers.get(pair)
        except AWAY as error:
            self._front_is_away(error)
            return await self._back.shortest_path(start, goal)
        self._ttl.note(hit=is_known)
        if is_known:
            self.stats.hits += 1
        else:
            self.stats.misses += 1
            path = await self._fly(version, pair)
        if path is None:
            raise NoPath(start, goal)
        return path

    async def match_pattern(self, query: str, parameters: Mapping[str, Any], limits: PatternLimits) -> PatternAnswer:
        """Ask the store behind; see GraphStore."""
        return await self._back.match_pattern(query, parameters, limits)

    async def close(self) -> None:
        """Close both stores; see GraphStore."""
        for flight in list(self._flights.values()):
            flight.cancel()
            with suppress(asyncio.CancelledError, PlanmeshError):
                await flight
        await self._answers.close()
        await self._back.close()

    async def _fly(self, version: str, pair: tuple[str, str]) -> StoredPath | None:
        """Query the back once for all concurrent requests of the same pair under the same version."""
        key = (version, pair)
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._ask_back(version, pair))
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(flight)

    def _landed(self, key: tuple[str, tuple[str, str]], flight: asyncio.Task[StoredPath | None]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # every waiter gets it; there may be none left

    async def _ask_back(self, version: str, pair: tuple[str, str]) -> StoredPath | None:
        try:
            path: StoredPath | None = await self._back.shortest_path(*pair)
        except NoPath:
            path = None
        try:
            await self._answers.put(pair, version, path, self.answer_ttl_s)
        except AWAY as error:
            self._front_is_away(error)
        return path

    async def _revision_when_due(self) -> str | None:
        """Return the back's revision at most once in `check_s`, to detect direct writes; None when no check is due."""
        if time.monotonic() - self._checked_s < self._options.check_s:
            return None
        async with self._checking:
            if time.monotonic() - self._checked_s < self._options.check_s:
                return None
            revision = await self._back.revision()
            self._checked_s = time.monotonic()
            return revision

    def _front_is_away(self, error: PlanmeshError) -> None:
        self.stats.front_errors += 1
        log.warning("front store is down; the back answers", store=self._shown, reason=error.message)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[str]:
        """Announce a write, yield its token, and withdraw the announcement afterwards.

        When the outcome of the write is unknown (it was cancelled, or the back broke off), the announcement stays until
        it lapses, because the write may still take effect.
        """
        token = secrets.token_hex(8)
        await self._answers.begin_write(token, self._options.lease_s)
        prolonging = asyncio.create_task(self._prolong(token))
        try:
            yield token
        except CERTAIN:
            await self._answers.end_write(token)
            raise
        else:
            revision = await self._revision_written()
            try:
                await self._answers.end_write(token, revision)
            except AWAY as error:
                raise StoreUnavailable(
                    "written to the back, but the front could not be notified, so the write is not acknowledged; "
                    f"repeat it: {error.message}",
                    store=self._shown,
                ) from error
        finally:
            prolonging.cancel()

    async def _revision_written(self) -> str:
        """Return the revision after our own write, so that it does not count as a direct one; "" if it is unreadable.

        The write is complete either way; without the revision, the next check makes one more version.
        """
        try:
            return await self._back.revision()
        except PlanmeshError as error:
            log.warning("revision after a write not read", store=self._shown, reason=error.message)
            return ""

    async def _prolong(self, token: str) -> None:
        while True:
            await asyncio.sleep(self._options.lease_s / 3)
            try:
                await self._answers.begin_write(token, self._options.lease_s)
            except AWAY as error:
                log.warning("announcement of a write not extended", store=self._shown, reason=error.message)


class HybridReplacement:
    """A replacement in the back; see GraphReplacement."""

    def __init__(self, replacement: GraphReplacement, announce: Callable[[], Awaitable[None]]) -> None:
        self._replacement = replacement
        self._announce = announce

    async def add_nodes(self, rows: NodeRows) -> None:
        """See GraphReplacement."""
        await self._replacement.add_nodes(rows)

    async def add_edges(self, rows: EdgeRows) -> None:
        """See GraphReplacement."""
        await self._replacement.add_edges(rows)

    async def commit(self) -> str:
        """Commit in the back, then announce once more, so that readers from now on get a new version."""
        revision = await self._replacement.commit()
        await self._announce()
        return revision
