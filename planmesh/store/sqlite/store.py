"""GraphStore over SQLite; see the package."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from pydantic import Field

from planmesh.errors import Conflict, InvalidRequest, NodeUnknown, StoreUnavailable
from planmesh.graph.rows import ROWS_PER_BATCH, EdgeRows, NodeRows
from planmesh.store.protocol import (
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
from planmesh.store.row_checks import (
    cheapest_of_pairs,
    check_changes,
    check_count,
    check_depth,
    check_edges,
    check_nodes,
    check_position,
    no_patterns,
)
from planmesh.store.sqlite import search, tables
from planmesh.store.sqlite.database import Database
from planmesh.store.urls import StoreOptions, StoreUrl, prepared, read_options

T = TypeVar("T")

TRAITS: Final = StoreTraits("sqlite", consistent_reads=True, atomic_batches=True, atomic_replacement=True)

IN_MEMORY: Final = "/:memory:"
"""Paths that SQLite takes for a private database of one connection; a store opens several connections."""

LOCK_SUFFIX: Final = "-replacement"
"""Suffix of the empty file beside the database that is locked while a replacement is written."""


class SqliteOptions(StoreOptions):
    """Options of sqlite://."""

    create: bool = Field(
        True, description="Create the file when it does not exist; otherwise a missing file is an error."
    )


async def open_url(location: StoreUrl) -> SqliteStore:
    """Open the store of a sqlite:// URL; see `planmesh.store.urls.open_store`."""
    options = read_options(location, SqliteOptions)
    if location.host or location.user or len(location.path) < 2 or location.path == IN_MEMORY:
        raise InvalidRequest(
            f"{location.text}: expected sqlite:///graph.db, or sqlite:////folder/graph.db with its absolute path",
            field="store",
        )
    path = Path(location.path[1:])
    if not options.create and not await asyncio.to_thread(path.exists):
        raise StoreUnavailable("the file does not exist", store=location.text)
    return await prepared(SqliteStore(path, location.text, options))


class SqliteStore:
    """A GraphStore in one file. Several processes may read it concurrently; their writes wait for each other."""

    def __init__(self, path: Path, shown: str, options: SqliteOptions) -> None:
        self._path = path
        self._shown = shown
        self._options = options
        self._writer = Database(path, shown, options.connect_timeout_s)
        self._asker = Database(path, shown, options.connect_timeout_s)

    async def prepare(self) -> None:
        """Connect, and create the tables in an empty file."""
        await self._writer.run(tables.create)

    @property
    def url(self) -> str:
        """The URL; see GraphStore."""
        return self._shown

    @property
    def traits(self) -> StoreTraits:
        """See GraphStore."""
        return TRAITS

    async def health(self) -> StoreHealth:
        """Query the revision; see GraphStore."""
        began_s = time.perf_counter()
        await self.revision()
        return StoreHealth(f"SQLite {sqlite3.sqlite_version}", time.perf_counter() - began_s)

    async def revision(self) -> str:
        """Return the file's identity and a number that each write increments; see GraphStore."""
        return await self._ask(tables.revision)

    async def counts(self) -> GraphCounts:
        """Count by a scan of both tables; see GraphStore."""
        return GraphCounts(*await self._ask(tables.counts))

    @asynccontextmanager
    async def read(self) -> AsyncIterator[SqliteReading]:
        """Begin a reading: a read transaction on its own connection; see GraphStore.

        While it is open, SQLite's log grows with every write.
        """
        database = Database(self._path, self._shown, self._options.connect_timeout_s)
        try:
            revision = await database.run(_begin_reading)
            yield SqliteReading(database, revision)
        finally:
            await database.close()

    @asynccontextmanager
    async def replace(self, position: int = 0) -> AsyncIterator[SqliteReplacement]:
        """Begin a replacement. Raises Conflict when another one runs. See GraphStore."""
        check_position(position)
        lock = await asyncio.to_thread(_take_lock, self._path, self._shown)
        try:
            replacement = SqliteReplacement(self._writer, self._shown, position)
            await self._writer.run(tables.begin_replacement)
            try:
                yield replacement
            finally:
                if not replacement.committed:
                    await self._writer.run(_drop_replacement)
        finally:
            os.close(lock)

    async def upsert_nodes(self, rows: NodeRows) -> None:
        """One transaction; see GraphStore."""
        checked = check_nodes(rows, self._shown)
        await self._write(lambda connection: tables.upsert_nodes(connection, checked))

    async def upsert_edges(self, rows: EdgeRows) -> None:
        """One transaction; see GraphStore."""
        checked = cheapest_of_pairs(check_edges(rows, self._shown))
        await self._write(lambda connection: tables.upsert_edges(connection, checked))

    async def delete_nodes(self, ids: Sequence[str]) -> None:
        """One transaction; see GraphStore."""
        check_count(len(ids))
        await self._write(lambda connection: tables.delete_nodes(connection, ids))

    async def delete_edges(self, pairs: Sequence[tuple[str, str]]) -> None:
        """One transaction; see GraphStore."""
        check_count(len(pairs))
        await self._write(lambda connection: tables.delete_edges(connection, pairs))

    async def apply_changes(self, changes: StoreChanges) -> None:
        """One transaction; see GraphStore."""
        checked = check_changes(changes, self._shown)
        await self._write(lambda connection: tables.apply_changes(connection, checked))

    async def position(self) -> int:
        """See GraphStore."""
        return await self._ask(tables.position)

    async def get_node(self, node: str) -> StoredNode:
        """See GraphStore."""
        found = await self._ask(lambda connection: tables.node(connection, node))
        if found is None:
            raise NodeUnknown(node)
        return StoredNode(*found)

    async def neighbors(self, node: str, depth: int, direction: Direction) -> list[StoredNeighbor]:
        """See GraphStore."""
        check_depth(depth)
        return await self._ask(lambda connection: search.neighbors(connection, node, depth, direction))

    async def shortest_path(self, start: str, goal: str) -> StoredPath:
        """Search from both ends in one read transaction; see GraphStore."""
        timeout_s = self._options.timeout_s
        return await self._ask(lambda connection: search.shortest_path(connection, start, goal, timeout_s))

    async def match_pattern(self, query: str, parameters: Mapping[str, Any], limits: PatternLimits) -> PatternAnswer:
        """Raise PatternsUnsupported: the embedded store has no pattern queries."""
        raise no_patterns(self._shown)

    async def close(self) -> None:
        """Close the file; see GraphStore."""
        await self._asker.close()
        await self._writer.close()

    async def _ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._asker.run(lambda connection: _in_one_state(connection, work), self._options.timeout_s)

    async def _write(self, work: Callable[[sqlite3.Connection], None]) -> None:
        await self._writer.run(work, self._options.timeout_s)


class SqliteReading:
    """A reading of one state of the graph; see GraphReading."""

    def __init__(self, database: Database, revision: str) -> None:
        self._database = database
        self._revision = revision

    @property
    def revision(self) -> str:
        """See GraphReading."""
        return self._revision

    async def nodes(self) -> AsyncIterator[NodeRows]:
        """Stream the nodes in the byte order of their ids; see GraphReading."""
        async for rows in self._stream("SELECT id, domain, region FROM node"):
            ids, domains, regions = zip(*rows, strict=True)
            yield NodeRows(list(ids), list(domains), list(regions))

    async def edges(self) -> AsyncIterator[EdgeRows]:
        """Stream the edges in the order of source and target; see GraphReading."""
        async for rows in self._stream("SELECT source, target, cost FROM edge"):
            sources, targets, costs = zip(*rows, strict=True)
            yield EdgeRows(list(sources), list(targets), np.array(costs, np.float64))

    async def unchanged(self) -> bool:
        """Return True, because a reading is one read transaction."""
        return True

    async def _stream(self, statement: str) -> AsyncIterator[list[tuple[Any, ...]]]:
        cursor = await self._database.run(lambda connection: connection.execute(statement))
        try:
            while rows := await self._database.run(lambda _: cursor.fetchmany(ROWS_PER_BATCH)):
                yield rows
        finally:
            await self._database.run(lambda _: cursor.close())


class SqliteReplacement:
    """Writes rows into separate tables; see GraphReplacement."""

    def __init__(self, writer: Database, shown: str, position: int) -> None:
        self._writer = writer
        self._shown = shown
        self._position = position
        self._nodes = 0
        self._edges = 0
        self.committed = False

    async def add_nodes(self, rows: NodeRows) -> None:
        """One transaction; see GraphReplacement."""
        checked = check_nodes(rows, self._shown, self._nodes + 1)
        self._nodes += len(rows)
        await self._writer.run(lambda connection: tables.stage_nodes(connection, checked))

    async def add_edges(self, rows: EdgeRows) -> None:
        """One transaction; see GraphReplacement."""
        checked = check_edges(rows, self._shown, self._edges + 1)
        self._edges += len(rows)
        await self._writer.run(lambda connection: tables.stage_edges(connection, checked))

    async def commit(self) -> str:
        """Sort the rows, check the ends of edges, and put the tables in place, all in one transaction."""
        revision = await self._writer.run(lambda connection: tables.commit_replacement(connection, self._position))
        self.committed = True
        return revision


def _begin_reading(connection: sqlite3.Connection) -> str:
    connection.execute("BEGIN")
    return tables.revision(connection)  # the first read determines the state that the transaction sees


def _in_one_state(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute("BEGIN")
    try:
        return work(connection)
    finally:
        connection.execute("ROLLBACK")


def _drop_replacement(connection: sqlite3.Connection) -> None:
    with tables.writing(connection):
        tables.drop_replacement(connection)


def _take_lock(path: Path, shown: str) -> int:
    try:
        descriptor = os.open(f"{path}{LOCK_SUFFIX}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(error.strerror or str(error), store=shown) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise Conflict(f"{shown}: another replacement of this graph is under way") from error
    return descriptor
