"""A store for the length of a block, and what an error of it would tell a log."""

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


def everything_told(error: BaseException) -> str:
    """The message, its facts, and the whole trace with causes, as a log would have it."""
    facts = str(getattr(error, "metadata", ""))
    return facts + "".join(traceback.format_exception(error))
