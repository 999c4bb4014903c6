"""Opens a store for a block, and renders an error as a log would."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from planmesh.store.protocol import GraphStore
from planmesh.store.urls import open_store


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
