"""The TTL rule in the caches that use it, on a real Redis: entries get a longer time to live."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from structlog.testing import capture_logs

from planmesh.dispatch.connections import connect_async
from planmesh.dispatch.queues import ANSWER_KEY_PREFIX
from planmesh.settings import CoordinatorSettings
from planmesh.store.hybrid import HybridStore
from planmesh.store.urls import open_store
from planmesh.ttl_rule import WINDOW
from services.coordinator.answer_cache import AnswerCache
from tests.conftest import RedisServer
from tests.store.contract.rows import fill


def times_to_live_s(server: RedisServer, pattern: str) -> list[float]:
    """Return the times to live of all keys that match, ascending. Only this test scans keys."""
    with redis.Redis.from_url(server.url) as client:
        return sorted(client.pttl(key) / 1_000 for key in client.scan_iter(match=pattern, count=10_000))


@pytest.mark.parametrize(("bound_s", "expected_s"), [(250, 200), (150, 150), (0, 100)])
async def test_answers_of_the_coordinator(redis_server: RedisServer, bound_s: int, expected_s: int) -> None:
    settings = CoordinatorSettings(
        redis_url=redis_server.url,
        coordinator_shared_cache_ttl_s=100,
        coordinator_shared_cache_ttl_max_s=bound_s,
        coordinator_cache_entries=0,
    )
    connection = connect_async(redis_server.url)
    cache = AnswerCache(settings, connection)
    try:
        with capture_logs() as lines:
            for number in range(WINDOW):
                assert await cache.get(("v", "a", str(number), "COST")) is None
        cache.put(("v", "a", "b", "COST"), b"answer")
        async with asyncio.timeout(10):
            while await cache.get(("v", "a", "b", "COST")) is None:
                await asyncio.sleep(0.01)
    finally:
        await cache.close()
        await connection.aclose()
    [ttl_s] = times_to_live_s(redis_server, f"{ANSWER_KEY_PREFIX}*")
    assert expected_s - 20 < ttl_s <= expected_s
    assert len(lines) == (expected_s != 100)


@pytest.mark.parametrize(("option", "expected_s"), [("", 200), ("&answer_ttl_max_s=0", 100)])
async def test_answers_of_a_hybrid_store(
    redis_server: RedisServer, tmp_path: Path, option: str, expected_s: float
) -> None:
    front, back = f"{redis_server.url}?graph={secrets.token_hex(4)}", f"sqlite:///{tmp_path}/g.db"
    urls = f"front={quote(front, safe='')}&back={quote(back, safe='')}"
    store = await open_store(f"hybrid://?{urls}&hot_threshold=1&answer_ttl_s=100{option}")
    assert isinstance(store, HybridStore)
    nodes = [f"n{number}" for number in range(WINDOW + 2)]
    try:
        await fill(store, nodes, [(near, far, 1.0) for near, far in itertools.pairwise(nodes)])
        for near, far in itertools.pairwise(nodes):  # each pair misses once
            await store.shortest_path(near, far)
        assert store.answer_ttl_s == expected_s
        assert store.stats.misses == WINDOW + 1
    finally:
        await store.close()
    kept = [ttl_s for ttl_s in times_to_live_s(redis_server, "*") if ttl_s > 0]
    assert expected_s - 20 < kept[-1] <= expected_s
