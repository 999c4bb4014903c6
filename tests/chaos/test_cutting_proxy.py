"""What the proxy between two processes does to a connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass

from planmesh.chaos.cutting_proxy import CuttingProxy, cutting_proxy
from planmesh.chaos.network_faults import cut, silence, slow


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[CuttingProxy, Connection]]:
    """Yield a proxy and a connection through it to an echo server."""
    answering: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        answering.add(task)
        with closing(writer):
            while line := await reader.readline():
                writer.write(line)

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with cutting_proxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        connection = Connection(*await asyncio.open_connection("127.0.0.1", proxy.port))
        with closing(connection.writer):
            yield proxy, connection
    server.close()
    await asyncio.gather(*answering, return_exceptions=True)


@dataclass
class Connection:
    """The client's end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def asked(self, line: bytes) -> bytes:
        """Send a line, and return the answer: empty when the connection was cut."""
        try:
            self.writer.write(line)
            return await self.reader.readline()
        except ConnectionError:
            return b""


async def test_lines_that_are_slow_keep_their_order() -> None:
    async with echo() as (proxy, connection):
        slow(0.02)(proxy)
        lines = [b"%d\n" % number for number in range(20)]
        for line in lines:
            connection.writer.write(line)
            await connection.writer.drain()
        assert [await connection.reader.readline() for _ in lines] == lines


async def test_what_a_silent_line_swallowed_arrives_when_it_is_restored() -> None:
    async with echo() as (proxy, connection):
        silence(proxy)
        asked = asyncio.create_task(connection.asked(b"late\n"))
        done, _ = await asyncio.wait({asked}, timeout=0.2)
        assert not done
        proxy.restore()
        assert await asked == b"late\n"


async def test_a_line_that_was_cut_ends_and_takes_no_connection_until_it_is_restored() -> None:
    async with echo() as (proxy, connection):
        assert await connection.asked(b"before\n") == b"before\n"
        cut(proxy)
        assert await connection.asked(b"after\n") == b""
        for restored in (False, True):
            if restored:
                proxy.restore()
            other = Connection(*await asyncio.open_connection("127.0.0.1", proxy.port))
            with closing(other.writer):
                assert await other.asked(b"again\n") == (b"again\n" if restored else b"")
