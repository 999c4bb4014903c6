"""Processes that are killed while they apply a batch of changes, on every store with atomic batches."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from typing import Final
from urllib.parse import quote

import pytest

from planmesh.store.protocol import GraphStore
from tests.store.contract.changed import State, applied, state_of
from tests.store.contract.killed_writer import OLD_EDGES, OLD_NODES, batch
from tests.store.contract.rows import fill
from tests.store.opened import opened

STORES = pytest.mark.stores

KINDS: Final = [
    "sqlite",
    "redis",
    "hybrid",
    pytest.param("neo4j", marks=STORES),
    pytest.param("hybrid_before_neo4j", marks=STORES),
]

DRAWN: Final = 6
"""Points drawn from all, besides the last ones: those around the commit."""

LAST: Final = 4

OLD: Final[State] = (OLD_NODES, {(source, target): cost for source, target, cost in OLD_EDGES}, 0)
NEW: Final = applied(OLD, batch())


@pytest.fixture
def hybrid_before_neo4j_store_url(redis_store_url: str, neo4j_store_url: str) -> str:
    """Redis before Neo4j; every pair is hot immediately."""
    return f"hybrid://?front={quote(redis_store_url, safe='')}&back={quote(neo4j_store_url, safe='')}&hot_threshold=1"


def write(url: str, point: int) -> tuple[int, str]:
    """Run a writer that kills itself at a point; return its exit code and what it printed."""
    command = [sys.executable, "-m", "tests.store.contract.killed_writer", url, str(point)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout


async def points_of(url: str) -> int:
    """Return the number of points of a writer. The first one may also have to send Redis its script."""
    for _ in range(2):
        async with opened(url) as store:
            await begin(store)
        code, printed = await asyncio.to_thread(write, url, 0)
        assert code == 0
    async with opened(url) as store:
        assert await state_of(store) == NEW
    return int(printed)


async def begin(store: GraphStore) -> None:
    """Store the graph from before the batch, and let a front keep an answer of it."""
    await fill(store, OLD_NODES, OLD_EDGES)
    for _ in range(3):
        assert (await store.shortest_path("n118", "n0")).cost == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("store_url", KINDS, indirect=True)
async def test_a_killed_writer_leaves_the_old_state_or_the_new_and_a_repeat_completes_it(store_url: str) -> None:
    count = await points_of(store_url)
    points = {*range(max(1, count - LAST + 1), count + 1)}
    points.update(random.Random(store_url.partition(":")[0]).sample(range(1, count + 1), min(DRAWN, count)))
    found = []
    for point in sorted(points):
        async with opened(store_url) as store:
            await begin(store)
        code, _ = await asyncio.to_thread(write, store_url, point)
        assert code == -signal.SIGKILL
        async with opened(store_url) as store:
            state = await state_of(store)
            assert state in (OLD, NEW)
            found.append(state)
            path = await store.shortest_path("n118", "n0")
            assert path.cost == 7.0 or await state_of(store) == OLD == state
            await store.apply_changes(batch())
            assert await state_of(store) == NEW
            assert (await store.shortest_path("n118", "n0")).cost == 7.0
    assert OLD in found
