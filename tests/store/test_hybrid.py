"""Behaviour specific to the hybrid store: hot pairs, freshness under concurrent writes, a front that fails."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import redis

from planmesh.chaos.cutting_proxy import CuttingProxy, cutting_proxy
from planmesh.errors import DeadlineExceeded, InvalidRequest, NodeUnknown, NoPath, PlanmeshError, StoreUnavailable
from planmesh.store.hybrid import HybridStore
from planmesh.store.hybrid.hot_pairs import PAIRS_PER_SLOT_MAX, HotPairs
from planmesh.store.protocol import StoredPath
from planmesh.store.urls import open_store
from tests.conftest import RedisServer
from tests.store.contract.rows import edge_rows, fill, node_rows

CHAIN = (["a", "b", "c"], [("a", "b", 1.0), ("b", "c", 1.0)])

OpenHybrid = Callable[[str], Awaitable[HybridStore]]


class Places:
    """The places of both stores; closes every store that it opened."""

    def __init__(self, front: str, back: str) -> None:
        self.front = front
        self.back = back
        self.opened: list[HybridStore] = []

    async def open(self, options: str = "hot_threshold=1", front: str = "") -> HybridStore:
        url = f"hybrid://?front={quote(front or self.front, safe='')}&back={quote(self.back, safe='')}&{options}"
        store = await open_store(url)
        assert isinstance(store, HybridStore)
        self.opened.append(store)
        return store


@pytest.fixture(params=["sqlite", pytest.param("neo4j", marks=pytest.mark.stores)])
async def places(request: pytest.FixtureRequest, shared_redis: RedisServer, tmp_path: Path) -> AsyncIterator[Places]:
    name = secrets.token_hex(4)
    back = f"sqlite:///{tmp_path}/graph.db"
    if request.param == "neo4j":
        back = f"{request.getfixturevalue('neo4j_server').url}?label=Hybrid{name}"
    made = Places(f"{shared_redis.url}?graph={name}", back)
    yield made
    for store in made.opened:
        await store.close()


def test_a_pair_is_hot_when_requested_often_enough_within_the_window() -> None:
    hot = HotPairs(window_s=60, threshold=3)
    assert [hot.ask(("a", "b"), now_s) for now_s in (0, 20, 40, 59)] == [False, False, True, True]
    assert hot.ask(("a", "b"), 75)  # 20, 40 and 59 are within
    assert not hot.ask(("b", "a"), 75)
    assert not hot.ask(("a", "b"), 200)  # all others are outside the window
    once = HotPairs(window_s=1, threshold=1)
    assert once.ask(("a", "b"), 5.0)


def test_counting_is_bounded() -> None:
    hot = HotPairs(window_s=60, threshold=2)
    for number in range(PAIRS_PER_SLOT_MAX + 10):
        hot.ask(("x", str(number)), 0)
    assert hot.ask(("x", "1"), 0)
    assert not hot.ask(("x", str(PAIRS_PER_SLOT_MAX + 5)), 0)
    assert not hot.ask(("x", str(PAIRS_PER_SLOT_MAX + 5)), 0)  # not counted in this slot


async def test_answers_of_hot_pairs_come_from_the_front(places: Places) -> None:
    store = await places.open("hot_threshold=3")
    await fill(store, *CHAIN)
    for _ in range(6):
        assert (await store.shortest_path("a", "c")).cost == 2.0
    stats = store.stats
    assert (stats.asked, stats.hot, stats.misses, stats.hits, stats.front_errors) == (6, 4, 1, 3, 0)
    with pytest.raises(NodeUnknown):
        await store.shortest_path("a", "x")
    for _ in range(5):
        with pytest.raises(NoPath):
            await store.shortest_path("c", "a")
    assert store.stats.hits == 5, "a missing path is an answer too"


async def test_every_kind_of_write_makes_older_answers_unseen(places: Places) -> None:
    store = await places.open()
    other = await places.open()
    await fill(store, *CHAIN)

    async def both() -> set[float]:
        return {(await one.shortest_path("a", "c")).cost for one in (store, other, store, other)}

    assert await both() == {2.0}
    await store.upsert_edges(edge_rows([("a", "b", 5.0)]))
    assert await both() == {6.0}
    await other.update_state(node_rows(["d"]), edge_rows([("a", "d", 1.0), ("d", "c", 2.0)]))
    assert await both() == {3.0}
    await store.delete_edges([("d", "c")])
    assert await both() == {6.0}
    await other.upsert_edges(edge_rows([("d", "c", 0.0)]))
    assert await both() == {1.0}
    await other.delete_nodes(["d"])
    assert await both() == {6.0}
    async with store.replace() as replacement:
        await replacement.add_nodes(node_rows(["a", "c"]))
        await replacement.add_edges(edge_rows([("a", "c", 9.0)]))
        assert await both() == {6.0}
        await replacement.commit()
        assert await both() == {9.0}
    assert await both() == {9.0}
    assert store.stats.hits > 0


async def test_a_refused_write_does_not_disable_the_front(places: Places) -> None:
    store = await places.open()
    await fill(store, *CHAIN)
    with pytest.raises(NodeUnknown):
        await store.upsert_edges(edge_rows([("a", "nowhere", 1.0)]))
    with pytest.raises(InvalidRequest):
        await store.upsert_edges(edge_rows([("a", "b", -1.0)]))
    for _ in range(3):
        await store.shortest_path("a", "c")
    assert store.stats.hits == 2, "answers are kept again immediately"


async def test_direct_writes_to_the_back_are_detected(places: Places) -> None:
    store = await places.open("hot_threshold=1&check_s=0")
    await fill(store, *CHAIN)
    assert (await store.shortest_path("a", "c")).cost == 2.0
    past = await open_store(places.back)
    await past.upsert_edges(edge_rows([("b", "c", 7.0)]))
    await past.close()
    assert (await store.shortest_path("a", "c")).cost == 8.0
    assert (await store.shortest_path("a", "c")).cost == 8.0


async def test_a_write_through_the_store_does_not_count_as_a_direct_one(places: Places) -> None:
    store = await places.open("hot_threshold=1&check_s=3600")
    await fill(store, *CHAIN)
    assert (await store.shortest_path("a", "c")).cost == 2.0  # its only check
    await store.upsert_edges(edge_rows([("a", "b", 5.0)]))
    assert (await store.shortest_path("a", "c")).cost == 6.0
    checks_first = await places.open("hot_threshold=1&check_s=3600")
    assert (await checks_first.shortest_path("a", "c")).cost == 6.0
    assert checks_first.stats.hits == 1


async def test_a_write_whose_revision_is_unreadable_is_complete(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await places.open("hot_threshold=1&check_s=0")
    await fill(store, *CHAIN)
    assert (await store.shortest_path("a", "c")).cost == 2.0

    async def away() -> str:
        raise StoreUnavailable("gone", store=places.back)

    with monkeypatch.context() as patch:
        patch.setattr(store._back, "revision", away)
        await store.upsert_edges(edge_rows([("a", "b", 5.0)]))
    assert [(await store.shortest_path("a", "c")).cost for _ in range(3)] == [6.0, 6.0, 6.0]
    assert store.stats.hits == 2


class SlowBack:
    """Queries the real back after a delay, and counts the queries."""

    def __init__(self, store: HybridStore) -> None:
        self.asked = 0
        self.gate = asyncio.Event()
        self._ask = store._back.shortest_path
        store._back.shortest_path = self.shortest_path  # type: ignore[method-assign]

    async def shortest_path(self, start: str, goal: str) -> StoredPath:
        self.asked += 1
        await self.gate.wait()
        return await self._ask(start, goal)


async def test_concurrent_misses_query_the_back_once(places: Places) -> None:
    store = await places.open()
    await fill(store, *CHAIN)
    behind = SlowBack(store)
    asking = [asyncio.create_task(store.shortest_path("a", "c")) for _ in range(50)]
    while store.stats.misses < 50:
        await asyncio.sleep(0.001)
    asking[0].cancel()  # the one that started the flight
    behind.gate.set()
    assert {path.cost for path in await asyncio.gather(*asking[1:])} == {2.0}
    assert behind.asked == 1


async def test_an_answer_overtaken_by_a_write_is_not_kept(places: Places) -> None:
    store = await places.open()
    await fill(store, *CHAIN)
    behind = SlowBack(store)
    early = asyncio.create_task(store.shortest_path("a", "c"))
    while not behind.asked:
        await asyncio.sleep(0.001)
    await store.upsert_edges(edge_rows([("a", "b", 5.0)]))
    late = asyncio.create_task(store.shortest_path("a", "c"))
    while behind.asked < 2:  # it does not join the flight that started before the write
        await asyncio.sleep(0.001)
    behind.gate.set()
    assert (await late).cost == 6.0
    await early
    assert (await store.shortest_path("a", "c")).cost == 6.0


async def test_a_writer_that_died_leaves_nothing_stale(places: Places, shared_redis: RedisServer) -> None:
    """It announced a write and died; its write takes effect late. No answer is kept until the announcement lapses."""
    store = await places.open("hot_threshold=1&lease_s=1")
    await fill(store, *CHAIN)
    writing = store._writing()
    await writing.__aenter__()
    for _ in range(3):
        assert (await store.shortest_path("a", "c")).cost == 2.0
    assert store.stats.hits == 0
    past = await open_store(places.back)
    await past.upsert_edges(edge_rows([("a", "b", 5.0)]))
    await past.close()
    assert (await store.shortest_path("a", "c")).cost == 6.0
    await writing.__aexit__(asyncio.CancelledError, asyncio.CancelledError(), None)
    began_s = time.monotonic()
    while store.stats.hits == 0:
        assert (await store.shortest_path("a", "c")).cost == 6.0
        assert time.monotonic() - began_s < 30
        await asyncio.sleep(0.02)
    with redis.Redis.from_url(shared_redis.url) as admin:
        pending = f"{{planmesh:hybrid:{places.front.partition('graph=')[2]}}}:pending"
        assert admin.zcard(pending) == 0


async def test_a_front_that_lost_its_memory_serves_nothing_old(places: Places, redis_server: RedisServer) -> None:
    places.front = redis_server.url
    store = await places.open()
    await fill(store, *CHAIN)
    for _ in range(2):
        assert (await store.shortest_path("a", "c")).cost == 2.0
    redis_server.kill()
    assert (await store.shortest_path("a", "c")).cost == 2.0
    assert store.stats.front_errors == 1
    with pytest.raises(StoreUnavailable):
        await store.upsert_edges(edge_rows([("a", "b", 5.0)]))
    assert (await store._back.shortest_path("a", "c")).cost == 2.0, "a write that cannot be announced is refused"
    redis_server.start()
    await store.upsert_edges(edge_rows([("a", "b", 5.0)]))
    hits = store.stats.hits
    for _ in range(3):
        assert (await store.shortest_path("a", "c")).cost == 6.0
    assert store.stats.hits == hits + 2


READS_MIN = 400
HITS_BETWEEN_MIN = 3


class History:
    """Costs of one edge, which only grow: the acknowledged ones and those whose write began."""

    def __init__(self) -> None:
        self.begun = 1.0
        self.acknowledged = 1.0
        self.reads = 0


async def read_and_check(store: HybridStore, history: History, ended: asyncio.Event) -> None:
    """Read repeatedly; no result is older than the last acknowledged write, or newer than the last begun."""
    while not ended.is_set():
        least = history.acknowledged
        try:
            cost = (await store.shortest_path("a", "c")).cost - 1.0
        except (StoreUnavailable, DeadlineExceeded):
            continue
        assert least <= cost <= history.begun
        history.reads += 1


async def write_often(stores: list[HybridStore], history: History, draw: random.Random, *, writes: int) -> None:
    """Write `writes` times and until there were enough reads; sometimes wait for hits, so that writes outdate some."""
    number = 1
    while number <= writes or history.reads < READS_MIN:
        number += 1
        history.begun = float(number)
        while True:
            try:
                await draw.choice(stores).update_state(edges=edge_rows([("a", "b", float(number))]))
                break
            except (StoreUnavailable, DeadlineExceeded):
                continue  # not acknowledged: it may be visible or not, and is repeated
        history.acknowledged = float(number)
        await asyncio.sleep(draw.choice([0, 0, 0.001, 0.005]))
        if number % 4 == 0:
            hits = sum(store.stats.hits for store in stores)
            while sum(store.stats.hits for store in stores) < hits + HITS_BETWEEN_MIN:
                await asyncio.sleep(0.001)


async def test_no_read_is_older_than_the_last_acknowledged_write(places: Places) -> None:
    """Several stores, as in several processes, share one front and one back; every read is checked."""
    stores = [await places.open("hot_threshold=1&check_s=0.05") for _ in range(3)]
    await fill(stores[0], *CHAIN)
    history, ended = History(), asyncio.Event()
    readers = [asyncio.create_task(read_and_check(store, history, ended)) for store in stores for _ in range(4)]
    await write_often(stores, history, random.Random(3), writes=150 if places.back.startswith("sqlite") else 30)
    ended.set()
    await asyncio.gather(*readers)


async def test_no_read_is_older_when_connections_to_the_front_are_slow_and_cut(
    places: Places, shared_redis: RedisServer
) -> None:
    location = urlsplit(places.front)
    async with cutting_proxy("127.0.0.1", shared_redis.prepared.port) as proxy:
        cut_off = f"redis://:{location.password}@127.0.0.1:{proxy.port}/0?{location.query}&timeout_s=0.5"
        options = "hot_threshold=1&check_s=0.05&lease_s=1"
        stores = [await places.open(options), await places.open(options, cut_off), await places.open(options, cut_off)]
        await fill(stores[0], *CHAIN)
        history, ended = History(), asyncio.Event()
        draw = random.Random(4)

        async def disturb(proxy: CuttingProxy) -> None:
            while not ended.is_set():
                proxy.delay_s = draw.choice([0, 0, 0.002, 0.01])
                if draw.random() < 0.4:
                    proxy.cut_after_bytes = draw.randrange(2_000)
                if draw.random() < 0.2:
                    proxy.cut()
                await asyncio.sleep(draw.uniform(0, 0.03))

        tasks = [asyncio.create_task(read_and_check(store, history, ended)) for store in stores for _ in range(3)]
        tasks.append(asyncio.create_task(disturb(proxy)))
        await write_often(stores, history, draw, writes=20)
        ended.set()
        await asyncio.gather(*tasks)
        for store in places.opened:
            await store.close()
        places.opened.clear()


@pytest.mark.parametrize(
    "query",
    ["front=sqlite%3A%2F%2F%2Fx.db&back=sqlite%3A%2F%2F%2Fx.db", "front=redis%3A%2F%2Fh", "back=redis%3A%2F%2Fh"],
)
async def test_invalid_hybrid_urls(query: str) -> None:
    with pytest.raises(InvalidRequest):
        await open_store(f"hybrid://?{query}")


async def test_a_front_that_refuses_credentials_is_an_error_at_opening(
    places: Places, shared_redis: RedisServer
) -> None:
    with pytest.raises(PlanmeshError) as caught:
        await places.open(front=f"redis://:wr0ng-secret@127.0.0.1:{shared_redis.prepared.port}/0")
    assert "wr0ng-secret" not in caught.value.message
