"""Counts and times the calls of a store, by its kind; no metric contains its URL.

Every call has a duration and an error count. A hybrid store also has hits, misses and the share of answers from its
front. The cost of a query is the store's price (`usd_per_hour` of its URL) for the time since it was opened, divided by
the queries since then: the cost when the store has no other users. Without a price there is no such metric.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from pydantic import ConfigDict

from planmesh.errors import NotFound, PlanmeshError
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.store.hybrid.store import HybridStore
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
from planmesh.store.urls import StoreOptions, StoreUrl, read_options
from planmesh.telemetry import names
from planmesh.telemetry.metrics import Instruments

HOUR_S: Final = 3_600.0


def price_of(location: StoreUrl) -> float:
    """Return the price in a store's URL, in USD an hour; 0 when unknown. Opening the store has validated the option."""
    return read_options(location, _Priced).usd_per_hour


class _Priced(StoreOptions):
    """The options that every store has; a store's own options are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class MeteredStore:
    """A GraphStore around another one, which it owns."""

    def __init__(
        self,
        store: GraphStore,
        instruments: Instruments,
        usd_per_hour: float = 0.0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._instruments = instruments
        self._usd_per_hour = usd_per_hour
        self._clock_s = clock_s
        self._opened_s = clock_s()
        self._about = {names.STORE: store.traits.name}
        self._queries = 0
        self._hits = 0
        self._misses = 0

    @property
    def url(self) -> str:
        """The URL without its password; see GraphStore."""
        return self._store.url

    @property
    def traits(self) -> StoreTraits:
        """The traits of the store."""
        return self._store.traits

    async def health(self) -> StoreHealth:
        """Timed; see GraphStore."""
        with self._call("health"):
            return await self._store.health()

    async def revision(self) -> str:
        """Timed; see GraphStore."""
        with self._call("revision"):
            return await self._store.revision()

    async def counts(self) -> GraphCounts:
        """Timed; see GraphStore."""
        with self._call("counts"):
            return await self._store.counts()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[GraphReading]:
        """Timed as one call, from its beginning to its end; see GraphStore."""
        with self._call("read"):
            async with self._store.read() as begun:
                yield begun

    @asynccontextmanager
    async def replace(self, position: int = 0) -> AsyncIterator[GraphReplacement]:
        """Timed as one call, from its beginning to its end; see GraphStore."""
        with self._call("replace"):
            async with self._store.replace(position) as begun:
                yield begun

    async def upsert_nodes(self, rows: NodeRows) -> None:
        """Timed; see GraphStore."""
        with self._call("upsert_nodes"):
            await self._store.upsert_nodes(rows)

    async def upsert_edges(self, rows: EdgeRows) -> None:
        """Timed; see GraphStore."""
        with self._call("upsert_edges"):
            await self._store.upsert_edges(rows)

    async def delete_nodes(self, ids: Sequence[str]) -> None:
        """Timed; see GraphStore."""
        with self._call("delete_nodes"):
            await self._store.delete_nodes(ids)

    async def delete_edges(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Timed; see GraphStore."""
        with self._call("delete_edges"):
            await self._store.delete_edges(pairs)

    async def apply_changes(self, changes: StoreChanges) -> None:
        """Timed; see GraphStore."""
        with self._call("apply_changes"):
            await self._store.apply_changes(changes)

    async def position(self) -> int:
        """Timed; see GraphStore."""
        with self._call("position"):
            return await self._store.position()

    async def get_node(self, node: str) -> StoredNode:
        """Timed; see GraphStore."""
        with self._call("get_node", is_query=True):
            return await self._store.get_node(node)

    async def neighbors(self, node: str, depth: int, direction: Direction) -> list[StoredNeighbor]:
        """Timed; see GraphStore."""
        with self._call("neighbors", is_query=True):
            return await self._store.neighbors(node, depth, direction)

    async def shortest_path(self, start: str, goal: str) -> StoredPath:
        """Timed; see GraphStore. For a hybrid store, hits and misses of the front are recorded as well."""
        try:
            with self._call("shortest_path", is_query=True):
                return await self._store.shortest_path(start, goal)
        finally:
            self._record_hits()

    async def match_pattern(self, query: str, parameters: Mapping[str, Any], limits: PatternLimits) -> PatternAnswer:
        """Timed; see GraphStore."""
        with self._call("match_pattern", is_query=True):
            return await self._store.match_pattern(query, parameters, limits)

    async def close(self) -> None:
        """Close the store that it owns."""
        await self._store.close()

    @contextmanager
    def _call(self, operation: str, *, is_query: bool = False) -> Iterator[None]:
        """Time a call, and count its failure. An unknown node or a missing path is an answer, not a failure."""
        about = {**self._about, names.STORE_OPERATION: operation}
        began_s = self._clock_s()
        try:
            yield
        except NotFound:
            raise
        except PlanmeshError as error:
            self._instruments.store_errors.add(1, {**about, names.ERROR_TYPE: type(error).__name__})
            raise
        finally:
            now_s = self._clock_s()
            self._instruments.store_duration.record(now_s - began_s, about)
            if is_query:
                self._queries += 1
                if self._usd_per_hour:
                    spent_usd = self._usd_per_hour * (now_s - self._opened_s) / HOUR_S
                    self._instruments.store_query_cost.set(spent_usd / self._queries, self._about)

    def _record_hits(self) -> None:
        """Record the hits and misses of a hybrid store's front since the last call."""
        if not isinstance(self._store, HybridStore):
            return
        stats = self._store.stats
        hits, misses = stats.hits - self._hits, stats.misses - self._misses
        self._hits, self._misses = stats.hits, stats.misses
        if hits:
            self._instruments.store_hits.add(hits, self._about)
        if misses:
            self._instruments.store_misses.add(misses, self._about)
        if stats.asked:
            self._instruments.store_hot_share.set(stats.hits / stats.asked, self._about)
