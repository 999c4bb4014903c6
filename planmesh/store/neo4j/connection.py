"""The driver for one database: managed transactions with retries, bounded in time, and with planmesh's errors."""

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
"""Share of `timeout_s` after which a failed transaction is not retried, so that its own error is reported in time."""

IDLE_S_MAX: Final = 30.0
"""A connection that was idle for longer, in seconds, is checked before it is used."""

USER_AGENT: Final = "planmesh"


class Connection:
    """Connections to one database. Bookmarks chain our transactions, so that a read sees the writes before it."""

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
        """Run `work` in a read transaction; retry it after a transient failure."""
        async with self._bounded(), self._session(neo4j.READ_ACCESS) as session:
            return await session.execute_read(self._limited(work))

    async def write(self, work: Callable[[AsyncManagedTransaction], Awaitable[T]]) -> T:
        """Run `work` in a write transaction, all or nothing; retry it after a transient failure."""
        async with self._bounded(), self._session(neo4j.WRITE_ACCESS) as session:
            return await session.execute_write(self._limited(work))

    async def write_long(self, work: Callable[[AsyncManagedTransaction], Awaitable[T]]) -> T:
        """Run `work` as `write` does, but without a time limit: it grows with the graph."""
        with translated(self.location, self.options.timeout_s):
            async with self._session(neo4j.WRITE_ACCESS) as session:
                return await session.execute_write(work)

    async def run_batches(self, statement: str, parameters: Mapping[str, Any]) -> None:
        """Run a statement that makes transactions of its own, without a time limit."""
        with translated(self.location, self.options.timeout_s):
            async with self._session(neo4j.WRITE_ACCESS) as session:
                await (await session.run(statement, dict(parameters))).consume()

    async def require_constraints(self, statements: Statements) -> None:
        """Create missing constraints. A user without the right to create them needs them to exist."""
        async with self._bounded(), self._session(neo4j.WRITE_ACCESS) as session:
            result = await session.run(statements.show_constraints)
            there = [record.values() async for record in result]
            for label, name, constraint in statements.constraints:
                if [label, [name]] not in there:
                    await (await session.run(f"CREATE CONSTRAINT IF NOT EXISTS {constraint}")).consume()

    @asynccontextmanager
    async def hold(self, statement: str, parameters: Mapping[str, Any]) -> AsyncIterator[None]:
        """Run `statement` in a transaction and keep it open for the locks that it takes; roll it back at the end."""
        with translated(self.location, self.options.timeout_s):
            async with self._session(neo4j.WRITE_ACCESS) as session:
                transaction = await session.begin_transaction()
                await (await transaction.run(statement, dict(parameters))).consume()
                yield

    async def rehearse(self, statement: str, parameters: Mapping[str, Any]) -> None:
        """Run a statement and roll it back, so that a connection is open and the server has compiled the statement."""
        async with self._bounded(), self.hold(statement, parameters):
            pass

    async def revision(self) -> str:
        """Return the bookmark of a read transaction: it differs after every commit."""
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
            raise StoreRefused(
                "the server returned no bookmark, so changes cannot be detected", store=self.location.text
            )
        return ",".join(sorted(values))

    async def stream(
        self, statement: str, parameters: Mapping[str, Any], rows: int
    ) -> AsyncGenerator[list[list[Any]], None]:
        """Stream the rows of a read statement, at most `rows` at a time; each batch must arrive within `timeout_s`.

        A broken stream is not retried, because the caller already has some of its rows.
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
        """Yield a session in which the database refuses every write."""
        with translated(self.location, self.options.timeout_s):
            async with self._session(neo4j.READ_ACCESS) as session:
                yield session

    async def server(self) -> str:
        """Return the server's name and version, by a query in our database with our credentials."""
        return await self.read(_server_name)

    async def close(self) -> None:
        """Close the driver with all its connections."""
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
        """Limit the block to `timeout_s`, and translate its errors."""
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
    """Return the driver's settings for a certificate file of the user's; without one, the URL's scheme decides."""
    if options.ca_file is None:
        return {}
    return {"encrypted": True, "trusted_certificates": neo4j.TrustCustomCAs(str(options.ca_file))}
