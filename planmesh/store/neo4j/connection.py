"""The driver of one database: managed transactions with retries, bounded in time, in errors of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import neo4j
from neo4j import AsyncGraphDatabase, AsyncManagedTransaction, AsyncSession

from planmesh.errors import StoreRefused
from planmesh.store.neo4j.failures import translated
from planmesh.store.neo4j.options import Neo4jOptions
from planmesh.store.neo4j.statements import Statements
from planmesh.store.urls import StoreUrl

T = TypeVar("T")

PORT: Final = 7687
RETRY_SHARE: Final = 0.5
"""Part of `timeout_s` after which a failed transaction is not tried again, so that its own error is told in time."""

IDLE_S_MAX: Final = 30.0
"""A connection that was idle for longer is asked for a sign of life before it is used."""

USER_AGENT: Final = "planmesh"


class Connection:
    """Connections to one database. Bookmarks chain what is done here, so that a read sees the writes before it."""

    def __init__(self, location: StoreUrl, options: Neo4jOptions) -> None:
        self.location = location
        self.options = options
        self._database = location.path.strip("/") or None
        with translated(location, options.timeout_s):
            self._bookmarks = AsyncGraphDatabase.bookmark_manager()
            self._driver = AsyncGraphDatabase.driver(
                _driver_url(location, options),
                auth=(location.user, location.password.get_secret_value()) if location.user else None,
                user_agent=USER_AGENT,
                telemetry_disabled=True,
                notifications_min_severity="OFF",
                connection_timeout=options.connect_timeout_s,
                connection_acquisition_timeout=options.timeout_s,
                max_connection_pool_size=options.pool_max,
                max_transaction_retry_time=options.timeout_s * RETRY_SHARE,
                liveness_check_timeout=IDLE_S_MAX,
                **_encryption(options),
            )

    async def read(self, work: Callable[[AsyncManagedTransaction], Awaitable[T]]) -> T:
        """Do `work` in a read transaction, again when it failed for a reason that passes."""
        async with self._bounded(), self._session(neo4j.READ_ACCESS) as session:
            return await session.execute_read(self._limited(work))

    async def write(self, work: Callable[[AsyncManagedTransaction], Awaitable[T]]) -> T:
        """Do `work` in a write transaction, whole or not at all, again when it failed for a reason that passes."""
        async with self._bounded(), self._session(neo4j.WRITE_ACCESS) as session:
            return await session.execute_write(self._limited(work))

    async def write_long(self, work: Callable[[AsyncManagedTransaction], Awaitable[T]]) -> T:
        """Do `work` as `write` does, without a bound of its time: it grows with the graph."""
        with translated(self.location, self.options.timeout_s):
            async with self._session(neo4j.WRITE_ACCESS) as session:
                return await session.execute_write(work)

    async def run_batches(self, statement: str, parameters: Mapping[str, Any]) -> None:
        """Run a statement that makes transactions of its own, which takes as long as it takes."""
        with translated(self.location, self.options.timeout_s):
            async with self._session(neo4j.WRITE_ACCESS) as session:
                await (await session.run(statement, dict(parameters))).consume()

    async def require_constraints(self, statements: Statements) -> None:
        """Create the constraints that are not there; a user who may not create them needs them to be there."""
        async with self._bounded(), self._session(neo4j.WRITE_ACCESS) as session:
            result = await session.run(statements.show_constraints)
            there = [record.values() async for record in result]
            for label, name, constraint in statements.constraints:
                if [label, [name]] not in there:
                    await (await session.run(f"CREATE CONSTRAINT IF NOT EXISTS {constraint}")).consume()

    @asynccontextmanager
    async def hold(self, statement: str, parameters: Mapping[str, Any]) -> AsyncIterator[None]:
        """Keep a transaction open in which `statement` was run, for the locks that it takes; then roll it back."""
        with translated(self.location, self.options.timeout_s):
            async with self._session(neo4j.WRITE_ACCESS) as session:
                transaction = await session.begin_transaction()
                await (await transaction.run(statement, dict(parameters))).consume()
                yield

    async def revision(self) -> str:
        """Return the bookmark of a transaction that only reads: it is another one after every commit."""
        async with self._bounded():
            known = await self._bookmarks.get_bookmarks()
            async with self._driver.session(
                database=self._database,
                default_access_mode=neo4j.READ_ACCESS,
                bookmarks=neo4j.Bookmarks.from_raw_values(known),
            ) as session:
                await session.execute_read(self._limited(_nothing))
                values = (await session.last_bookmarks()).raw_values
        if not values:
            raise StoreRefused("it gave no bookmark, so changes cannot be seen", store=self.location.text)
        return ",".join(sorted(values))

    async def stream(
        self, statement: str, parameters: Mapping[str, Any], rows: int
    ) -> AsyncGenerator[list[list[Any]], None]:
        """Stream the rows of a statement that reads, at most `rows` at a time; each batch has `timeout_s`.

        It is not tried again when it breaks off: rows were handed out already.
        """
        with translated(self.location, self.options.timeout_s):
            async with self._session(neo4j.READ_ACCESS, fetch_size=rows) as session:
                async with asyncio.timeout(self.options.timeout_s):
                    transaction = await session.begin_transaction()
                    result = await transaction.run(statement, dict(parameters))
                while True:
                    async with asyncio.timeout(self.options.timeout_s):
                        records = await result.fetch(rows)
                    if not records:
                        return
                    yield [record.values() for record in records]

    @asynccontextmanager
    async def session_for_reading(self) -> AsyncIterator[AsyncSession]:
        """Give a session in which the database refuses every write."""
        with translated(self.location, self.options.timeout_s):
            async with self._session(neo4j.READ_ACCESS) as session:
                yield session

    async def server(self) -> str:
        """Return what the server calls itself, by a query in our database with our credentials."""
        return await self.read(_server_name)

    async def close(self) -> None:
        """Close all connections."""
        await self._driver.close()

    def _session(self, access: str, **options: Any) -> AsyncSession:
        return self._driver.session(
            database=self._database, default_access_mode=access, bookmark_manager=self._bookmarks, **options
        )

    def _limited(
        self, work: Callable[[AsyncManagedTransaction], Awaitable[T]]
    ) -> Callable[[AsyncManagedTransaction], Awaitable[T]]:
        limited: Callable[[AsyncManagedTransaction], Awaitable[T]] = neo4j.unit_of_work(timeout=self.options.timeout_s)(
            work
        )
        return limited

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        """Give what is inside `timeout_s`, and translate its errors."""
        with translated(self.location, self.options.timeout_s):
            async with asyncio.timeout(self.options.timeout_s):
                yield


async def _server_name(transaction: AsyncManagedTransaction) -> str:
    summary = await (await transaction.run("RETURN 1")).consume()
    return str(summary.server.agent)


async def _nothing(transaction: AsyncManagedTransaction) -> None:
    await (await transaction.run("RETURN 1")).consume()


def _driver_url(location: StoreUrl, options: Neo4jOptions) -> str:
    host = f"[{location.host}]" if ":" in location.host else location.host
    scheme = location.scheme.partition("+")[0] if options.ca_file else location.scheme
    return f"{scheme}://{host}:{location.port or PORT}"


def _encryption(options: Neo4jOptions) -> dict[str, Any]:
    """Return the driver's settings for certificates of our own choice; without them the scheme says it all."""
    if options.ca_file is None:
        return {}
    return {"encrypted": True, "trusted_certificates": neo4j.TrustCustomCAs(str(options.ca_file))}
