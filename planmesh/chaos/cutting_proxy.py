"""A proxy in this process that delays, silences and cuts connections to a real server, as toxiproxy does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

BLOCK_BYTES: Final = 65_536

BLOCKS_MAX: Final = 256
"""Blocks in transit in one direction of a connection. When it is reached, the sender waits (backpressure)."""

POLL_S: Final = 0.01
"""Interval between checks whether a silence has ended."""

UNIX: Final = "unix:"


class CuttingProxy:
    """Forwards connections to a server at `host:port` or `unix:/path`. The faults can be changed at any time."""

    def __init__(self, target: str = "") -> None:
        self.target = target
        """May be set after construction, but before the first connection."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.delay_s = 0.0
        """Applies to each direction. Consecutive blocks are delayed concurrently, so throughput does not drop."""
        self.refuses = False
        self.silent = False
        self.cut_after_bytes: int | None = None
        self.connections = 0
        self.port = 0

    async def start(self) -> None:
        """Listen on a free port on the loopback interface."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening, and abort all remaining connections."""
        self._server.close()
        self.restore()
        self.refuses = True
        self.cut()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def cut(self) -> None:
        """Abort every open connection without a clean close."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def restore(self) -> None:
        """Clear all faults: connections pass unchanged."""
        self.delay_s = 0.0
        self.refuses = self.silent = False
        self.cut_after_bytes = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        if self.refuses:
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        if self.refuses:
            writer.transport.abort()
            server_writer.transport.abort()
            return
        self._writers |= {writer, server_writer}
        try:
            await asyncio.gather(self._copy(reader, server_writer), self._copy(server_reader, writer))
        finally:
            for one in (writer, server_writer):
                self._writers.discard(one)
                one.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.target.startswith(UNIX):
            return await asyncio.open_unix_connection(self.target.removeprefix(UNIX))
        host, _, port = self.target.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read blocks as they arrive, and forward each after its delay."""
        blocks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(BLOCKS_MAX)
        reading = asyncio.create_task(self._read(reader, blocks))
        sending = asyncio.create_task(self._send(blocks, writer))
        try:
            await asyncio.wait({reading, sending}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                await sending  # blocks that arrived before the end
        finally:
            reading.cancel()
            sending.cancel()
            writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader, blocks: asyncio.Queue[tuple[float, bytes]]) -> None:
        with contextlib.suppress(OSError):
            while block := await reader.read(BLOCK_BYTES):
                await blocks.put((asyncio.get_running_loop().time() + self.delay_s, block))
        await blocks.put((0.0, b""))

    async def _send(self, blocks: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                due_s, block = await blocks.get()
                if not block:
                    return
                wait_s = due_s - asyncio.get_running_loop().time()
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
                while self.silent:  # noqa: ASYNC110 - changed by plain assignment, which no event would notice
                    await asyncio.sleep(POLL_S)
                if not await self._write(block, writer):
                    return

    async def _write(self, block: bytes, writer: asyncio.StreamWriter) -> bool:
        """Write a block, or as much of it as `cut_after_bytes` allows. Return False when the limit has been reached."""
        left = self.cut_after_bytes
        if left is None:
            writer.write(block)
            await writer.drain()
            return True
        block = block[:left]
        self.cut_after_bytes = left - len(block)
        writer.write(block)
        await writer.drain()
        if self.cut_after_bytes == 0:
            self.cut_after_bytes = None
            self.cut()
            return False
        return True


@asynccontextmanager
async def cutting_proxy(host: str, port: int) -> AsyncIterator[CuttingProxy]:
    """Run a proxy in front of a server for the duration of the block."""
    proxy = CuttingProxy(f"{host}:{port}")
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
