"""GraphStore over Redis; see the package."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints

from planmesh.defaults import GRAPH_DEFAULT
from planmesh.errors import DeadlineExceeded, InvalidGraph, LimitExceeded, NodeUnknown, NoPath, StoreRefused
from planmesh.graph.model import COST_MAX
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.graph.rules import shown
from planmesh.store.protocol import (
    NEIGHBORS_MAX,
    Direction,
    GraphCounts,
    PatternAnswer,
    PatternLimits,
    StoreChanges,
    StoredNeighbor,
    StoredNode,
    StoredPath,
    StoreHealth,
    StoreTraits,
)
from planmesh.store.redis.reading import RedisReading
from planmesh.store.redis.replacement import RedisReplacement, begin_replacement, end_replacement
from planmesh.store.redis.rows import change_arguments, edge_arguments, labels_of, node_arguments, pair_arguments
from planmesh.store.redis.scripts import RedisScripts
from planmesh.store.row_checks import (
    cheapest_of_pairs,
    check_changes,
    check_count,
    check_depth,
    check_edges,
    check_nodes,
    check_position,
    no_patterns,
    slices,
)
from planmesh.store.urls import StoreOptions, StoreUrl, prepared, read_options

TRAITS: Final = StoreTraits("redis", consistent_reads=False, atomic_batches=True, atomic_replacement=True)

EMPTY_REVISION: Final = "empty"
"""The revision of a graph that does not exist."""


class RedisOptions(StoreOptions):
    """Options of redis:// and its variants. A request has at most `batch_rows` rows and is one step of the server."""

    graph: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,100}$")] = Field(
        GRAPH_DEFAULT, description="Name of the graph; one database can hold several."
    )
    ttl_s: float = Field(
        0.0, ge=0, le=366 * 86_400, description="Seconds after its replacement when the whole graph expires; 0: never."
    )
    settled_max: int = Field(
        200_000, ge=1, le=10_000_000, description="Most nodes that a search settles; it blocks Redis meanwhile."
    )


async def open_url(location: StoreUrl) -> RedisStore:
    """Open the store of a redis:// URL; see `planmesh.store.urls.open_store`."""
    return await prepared(RedisStore(location, read_options(location, RedisOptions)))


class RedisStore:
    """A GraphStore in Redis; the package describes its guarantees."""

    def __init__(self, location: StoreUrl, options: RedisOptions) -> None:
        self._shown = location.text
        self._options = options
        self._ttl_ms = str(round(options.ttl_s * 1000))
        self._scripts = RedisScripts(location, options.graph, options.timeout_s, options.connect_timeout_s)

    async def prepare(self) -> None:
        """Raise StoreRefused when the server may evict keys, which would leave half a graph."""
        found = await self._scripts.command("INFO", "memory")
        policy = str(found["maxmemory_policy"])
        if int(found["maxmemory"]) and (
            policy.startswith("allkeys") or (self._options.ttl_s and policy.startswith("volatile"))
        ):
            raise StoreRefused(
                f"the server evicts keys when its memory is full (maxmemory-policy {policy}); a graph needs noeviction",
                store=self._shown,
            )

    @property
    def url(self) -> str:
        """The URL without its password; see GraphStore."""
        return self._shown

    @property
    def traits(self) -> StoreTraits:
        """See GraphStore."""
        return TRAITS

    async def health(self) -> StoreHealth:
        """Query the server's version; see GraphStore."""
        began_s = time.perf_counter()
        found = await self._scripts.command("INFO", "server")
        return StoreHealth(f"Redis {found['redis_version']}", time.perf_counter() - began_s)

    async def revision(self) -> str:
        """Return the revision, which our writing scripts change; see GraphStore. Other writes do not change it."""
        return (await self._state())[0]

    async def counts(self) -> GraphCounts:
        """Return the counts that the scripts keep; see GraphStore."""
        return (await self._state())[1]

    @asynccontextmanager
    async def read(self) -> AsyncIterator[RedisReading]:
        """Begin a reading; its streams raise Conflict when the graph is replaced meanwhile. See GraphStore."""
        revision, counts, generation, _ = await self._state()
        yield RedisReading(
            self._scripts, self._shown, self.revision, revision, counts, generation, self._options.batch_rows
        )

    @asynccontextmanager
    async def replace(self, position: int = 0) -> AsyncIterator[RedisReplacement]:
        """Begin a replacement. Raises Conflict when another one runs. See GraphStore.

        The lease of a replacement that was killed expires after a minute.
        """
        check_position(position)
        token = secrets.token_hex(8)
        await begin_replacement(self._scripts, token, self._shown)
        replacement = RedisReplacement(
            self._scripts, token, self._shown, self._options.batch_rows, self._ttl_ms, position
        )
        try:
            yield replacement
        finally:
            if not replacement.committed:
                await end_replacement(self._scripts, token)

    async def upsert_nodes(self, rows: NodeRows) -> None:
        """Upsert in steps of `batch_rows` rows, each all or nothing; see GraphStore."""
        checked = check_nodes(rows, self._shown)
        for batch in slices(len(checked), self._options.batch_rows):
            await self._scripts.run("put_nodes", "", "0", *node_arguments(checked, batch))

    async def upsert_edges(self, rows: EdgeRows) -> None:
        """Upsert in steps of `batch_rows` rows, each all or nothing; see GraphStore."""
        checked = cheapest_of_pairs(check_edges(rows, self._shown))
        for batch in slices(len(checked), self._options.batch_rows):
            answer = await self._scripts.run("put_edges", "", "0", "set", *edge_arguments(checked, batch))
            if answer[0] == "unknown":
                raise NodeUnknown(str(answer[1]))

    async def delete_nodes(self, ids: Sequence[str]) -> None:
        """Delete in steps of `batch_rows`; see GraphStore."""
        check_count(len(ids))
        for batch in slices(len(ids), self._options.batch_rows):
            await self._scripts.run("delete_nodes", *ids[batch])

    async def delete_edges(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Delete in steps of `batch_rows`; see GraphStore."""
        check_count(len(pairs))
        for batch in slices(len(pairs), self._options.batch_rows):
            await self._scripts.run("delete_edges", *pair_arguments(pairs[batch]))

    async def apply_changes(self, changes: StoreChanges) -> None:
        """Apply in one step of the server, however many rows there are; see GraphStore.

        The largest batch occupies it for some 0.3 s, a batch of ten rows for less than a millisecond.
        """
        checked = check_changes(changes, self._shown)
        answer = await self._scripts.run("apply", *change_arguments(checked))
        if answer[0] == "unknown":
            raise NodeUnknown(str(answer[1]))

    async def position(self) -> int:
        """Return the position, which expires with the graph; see GraphStore."""
        return (await self._state())[3]

    async def get_node(self, node: str) -> StoredNode:
        """See GraphStore."""
        answer = await self._scripts.run("node", node)
        if answer[0] == "unknown":
            raise NodeUnknown(node)
        return StoredNode(node, *labels_of(str(answer[1])))

    async def neighbors(self, node: str, depth: int, direction: Direction) -> list[StoredNeighbor]:
        """Search in one step of the server; see GraphStore."""
        check_depth(depth)
        answer = await self._scripts.run("neighbors", node, str(depth), str(direction), str(NEIGHBORS_MAX))
        if answer[0] == "unknown":
            raise NodeUnknown(node)
        if answer[0] == "many":
            raise LimitExceeded(
                f"expected at most {NEIGHBORS_MAX:,} neighbours: ask for a smaller depth", bound="NEIGHBORS_MAX"
            )
        found = [StoredNeighbor(str(one), int(hops)) for one, hops in zip(answer[1::2], answer[2::2], strict=True)]
        return sorted(found, key=lambda one: (one.hops, one.id))

    async def shortest_path(self, start: str, goal: str) -> StoredPath:
        """Search from both ends in one step of the server; see GraphStore. LimitExceeded after `settled_max` nodes."""
        settled_max = self._options.settled_max
        # Half of the time-out, so that the server stops before its client does.
        time_ms = round(self._options.timeout_s * 500)
        answer = await self._scripts.run("path", start, goal, str(time_ms), str(settled_max), repr(COST_MAX))
        match answer[0]:
            case "unknown":
                raise NodeUnknown(str(answer[1]))
            case "none":
                raise NoPath(start, goal)
            case "bad":
                raise InvalidGraph(
                    f"expected a cost from 0 to {COST_MAX:g}, got {shown(answer[3])}",
                    source=self._shown,
                    record=f"edge from {answer[1]!r} to {answer[2]!r}",
                    field="cost",
                )
            case "late":
                raise DeadlineExceeded(f"{self._shown}: the search found no path within {time_ms / 1000:g} s")
            case "many":
                raise LimitExceeded(
                    f"{self._shown}: the search found no path within {settled_max:,} settled nodes", bound="settled_max"
                )
        costs = [float(cost) for cost in answer[2::2]]
        return StoredPath([str(node) for node in answer[1::2]], costs, sum(costs))

    async def match_pattern(self, query: str, parameters: Mapping[str, Any], limits: PatternLimits) -> PatternAnswer:
        """Raise PatternsUnsupported: Redis has no pattern queries."""
        raise no_patterns(self._shown)

    async def close(self) -> None:
        """Close all connections; see GraphStore."""
        await self._scripts.close()

    async def _state(self) -> tuple[str, GraphCounts, str, int]:
        """Return the revision, the counts, the generation and the position of the graph."""
        answer = await self._scripts.run("state")
        if answer[0] == "empty":
            return EMPTY_REVISION, GraphCounts(0, 0), "", 0
        counts = GraphCounts(int(answer[2]), int(answer[3]))
        return str(answer[1]), counts, str(answer[4]), int(answer[5])
