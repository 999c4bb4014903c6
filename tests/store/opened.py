"""Opens a store for a block, and renders an error as a log would."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from planmesh.chaos.cutting_proxy import CuttingProxy
from planmesh.store.protocol import GraphStore
from planmesh.store.urls import open_store
from tests.store.contract.rows import fill


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[GraphStore]:
    store = await open_store(url)
    try:
        yield store
    finally:
        await store.close()


def full_text(error: BaseException) -> str:
    """Return the message, its metadata, and the whole traceback with causes, as a log would show them."""
    facts = str(getattr(error, "metadata", ""))
    return facts + "".join(traceback.format_exception(error))


async def read_until_cut(proxy: CuttingProxy, url: str) -> None:
    """Read a graph of 50 batches through a proxy that breaks off after the first. Raises what the reading raises."""
    async with opened(f"{url}&batch_rows=100") as store:
        await fill(store, [f"node-{number}" for number in range(5_000)], [])
        async with store.read() as reading:
            async for _ in reading.nodes():
                proxy.refuses = True
                proxy.cut()
