"""Behaviour specific to Redis: a server that is down, refuses or breaks off; expiry; clusters; no leftover keys."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from planmesh.chaos.cutting_proxy import CuttingProxy, cutting_proxy
from planmesh.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidGraph,
    InvalidRequest,
    LimitExceeded,
    PlanmeshError,
    StoreCredentials,
    StoreRefused,
    StoreUnavailable,
)
from planmesh.graph.model import COST_MAX
from planmesh.local.ports import free_port
from planmesh.local.redis_server import find_redis_server
from planmesh.store.redis.replacement import WRITING_S_MAX
from planmesh.store.redis.scripts import BUCKETS, RedisScripts
from planmesh.store.redis.store import RedisOptions
from planmesh.store.urls import open_store, parse_store_url, read_options
from tests.conftest import RedisServer
from tests.store.contract.rows import contents, edge_rows, fill, node_rows, read_all
from tests.store.opened import opened

CLUSTER_BUS_OFFSET = 10_000
"""Offset of the port at which cluster nodes talk to each other."""

SMALL = (["a", "b"], [("a", "b", 1.0)])


@pytest.fixture
def url(shared_redis: RedisServer) -> str:
    return f"{shared_redis.url}?graph={secrets.token_hex(4)}"


@pytest.fixture
def admin(shared_redis: RedisServer) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(shared_redis.url, decode_responses=True)
    yield client
    client.close()


@pytest.fixture
async def proxied(shared_redis: RedisServer) -> AsyncIterator[tuple[CuttingProxy, str]]:
    """A proxy before the server, and the URL of an empty store through it."""
    location = urlsplit(shared_redis.url)
    async with cutting_proxy("127.0.0.1", shared_redis.prepared.port) as proxy:
        yield proxy, f"redis://:{location.password}@127.0.0.1:{proxy.port}/0?graph={secrets.token_hex(4)}"


def keys_of(admin: redis.Redis, url: str) -> set[str]:
    return {str(key) for key in admin.scan_iter(f"{{planmesh:{url.partition('graph=')[2]}}}*")}


async def test_a_replaced_graph_leaves_no_keys(url: str, admin: redis.Redis) -> None:
    async with opened(url) as store:
        await fill(store, [f"n{number}" for number in range(3_000)], [])
        await fill(store, *SMALL)
        async with store.replace() as replacement:
            await replacement.add_nodes(node_rows([f"m{number}" for number in range(500)]))
        head, *rows = sorted(keys_of(admin, url), key=len)
        assert len(rows) == 4  # a bucket for each node, the edges out of a, the edges into b
        assert admin.type(head) == "hash"


async def test_the_next_replacement_removes_what_a_killed_one_left(url: str, admin: redis.Redis) -> None:
    async with opened(url) as store:
        await fill(store, *SMALL)
        killed = store.replace()
        replacement = await killed.__aenter__()
        await replacement.add_nodes(node_rows([f"n{number}" for number in range(500)]))
        with pytest.raises(Conflict, match="another replacement"):
            await fill(store, ["x"], [])
        lease = next(key for key in keys_of(admin, url) if key.endswith(":writing"))
        assert 0 < int(admin.pttl(lease)) <= 60_000
        admin.delete(lease)  # as if a minute had passed
        await fill(store, ["x", "y"], [])
        assert len(keys_of(admin, url)) == 3
        with pytest.raises(Conflict, match="took over"):
            await replacement.add_nodes(node_rows(["late"]))
        with pytest.raises(Conflict, match="took over"):
            await replacement.commit()
        assert set((await contents(store))[0]) == {"x", "y"}
        await killed.__aexit__(None, None, None)
        assert len(keys_of(admin, url)) == 3


async def test_a_reading_of_a_replaced_graph_raises_conflict(url: str) -> None:
    async with opened(f"{url}&batch_rows=100") as store:
        await fill(store, [f"n{number}" for number in range(2_000)], [])
        async with store.read() as reading:
            nodes = reading.nodes()
            await anext(nodes)
            await fill(store, *SMALL)
            with pytest.raises(Conflict, match="was replaced while it was read"):
                await anext(nodes)


async def test_invalid_costs_of_other_clients(url: str, admin: redis.Redis) -> None:
    async with opened(url) as store:
        await fill(store, *SMALL)
        row = next(key for key in keys_of(admin, url) if key.endswith(":o:a"))
        for value, complaint in (("cheap", "expected a number, got 'cheap'"), ("-1", "expected a finite cost")):
            admin.hset(row, "b", value)
            with pytest.raises(InvalidGraph, match=complaint):
                async with store.read() as reading:
                    await read_all(reading)


async def test_a_graph_expires_as_a_whole(redis_server: RedisServer) -> None:
    admin = redis.Redis.from_url(redis_server.url, decode_responses=True)
    with pytest.raises(StoreRefused, match="evicts keys"):
        await open_store(f"{redis_server.url}?ttl_s=100")
    admin.config_set("maxmemory-policy", "noeviction")
    async with opened(f"{redis_server.url}?ttl_s=100") as store:
        await fill(store, *SMALL)
        await store.upsert_nodes(node_rows(["c"]))
        await store.upsert_edges(edge_rows([("b", "c", 1.0)]))
        left = {str(key): int(admin.pttl(key)) for key in admin.scan_iter("*")}
        head = left.pop("{planmesh:default}:head")
        assert 0 < head <= 100_000
        assert len(left) == 7
        assert all(head < one <= 3_700_000 for one in left.values()), "no row expires before the head"
        admin.pexpire("{planmesh:default}:head", 1)
        while admin.exists("{planmesh:default}:head"):
            await asyncio.sleep(0.001)
        assert await contents(store) == ({}, {})
        await store.upsert_nodes(node_rows(["new"]))
        assert await contents(store) == ({"new": ("", "")}, {})
    admin.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(StoreRefused, match="allkeys-lru"):
        await open_store(redis_server.url)
    admin.close()


async def test_wrong_credentials(shared_redis: RedisServer) -> None:
    place = f"127.0.0.1:{shared_redis.prepared.port}"
    for user in (":wr0ng-secret", "ann:wr0ng-secret"):
        with pytest.raises(StoreCredentials) as caught:
            await open_store(f"redis://{user}@{place}/0")
        assert "wr0ng-secret" not in str(caught.value)
        assert place in caught.value.message
    with pytest.raises(StoreCredentials, match="must be called with the client already authenticated"):
        await open_store(f"redis://{place}/0")


async def test_tls_with_a_server_without_it(shared_redis: RedisServer) -> None:
    place = f"127.0.0.1:{shared_redis.prepared.port}/0?connect_timeout_s=0.5&timeout_s=0.5"
    with pytest.raises((StoreCredentials, StoreUnavailable)) as caught:
        await open_store(f"rediss://:{urlsplit(shared_redis.url).password}@{place}")
    assert str(urlsplit(shared_redis.url).password) not in str(caught.value)


async def test_a_server_that_is_down() -> None:
    with pytest.raises(StoreUnavailable, match=r"redis://127\.0\.0\.1"):
        await open_store(f"redis://:topsecret@127.0.0.1:{free_port()}/0")


@pytest.mark.parametrize("path", ["/x", "/1/2", "/123456"])
async def test_a_database_must_be_a_number(path: str) -> None:
    with pytest.raises(InvalidRequest, match="number of a database"):
        await open_store(f"redis://127.0.0.1{path}")


async def test_an_invalid_graph_name() -> None:
    with pytest.raises(InvalidRequest, match="graph: String should match"):
        await open_store("redis://127.0.0.1/0?graph=%7Bx%7D")


async def test_a_killed_server_is_an_error_until_it_is_back(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        await store.upsert_nodes(node_rows(["a"]))
        redis_server.kill()
        with pytest.raises(StoreUnavailable):
            await store.upsert_nodes(node_rows(["b"]))
        redis_server.start()
        await fill(store, *SMALL)  # the server is configured to keep nothing
        assert set((await contents(store))[0]) == {"a", "b"}


async def test_a_hanging_server_ends_with_an_error(redis_server: RedisServer) -> None:
    async with opened(f"{redis_server.url}?timeout_s=0.2") as store:
        redis_server.signal(signal.SIGSTOP)
        with pytest.raises((DeadlineExceeded, StoreUnavailable)):
            await store.revision()
        redis_server.signal(signal.SIGCONT)
        assert await store.revision()


async def test_cut_connections_are_reopened(proxied: tuple[CuttingProxy, str]) -> None:
    proxy, url = proxied
    async with opened(url) as store:
        await fill(store, *SMALL)
        for _ in range(5):
            proxy.cut()
            assert (await store.shortest_path("a", "b")).cost == 1.0
        assert proxy.connections > 5


@pytest.mark.parametrize("cut_bytes", [1, 500, 5_000, 20_000, 60_000])
async def test_a_replacement_cut_anywhere_is_complete_or_absent(
    proxied: tuple[CuttingProxy, str], admin: redis.Redis, cut_bytes: int
) -> None:
    """The connection is cut and stays cut: the old graph remains, and a second attempt writes the new one."""
    proxy, url = proxied
    ids = [f"n{number}" for number in range(2_000)]
    edges = [(one, other, 1.0) for one, other in zip(ids, ids[1:] + ids[:1], strict=True)]
    async with opened(f"{url}&batch_rows=200") as store:
        await fill(store, *SMALL)

        async def replace() -> None:
            async with store.replace() as replacement:
                await replacement.add_nodes(node_rows(ids))
                proxy.cut_after_bytes = cut_bytes
                proxy.refuses = True  # new connections as well
                await replacement.add_edges(edge_rows(edges))
                await replacement.commit()

        with pytest.raises(PlanmeshError) as caught:
            await replace()
        assert isinstance(caught.value, StoreUnavailable)
        proxy.restore()
        assert await contents(store) == ({"a": ("", ""), "b": ("", "")}, {("a", "b"): 1.0})
        admin.delete(f"{{planmesh:{url.partition('graph=')[2]}}}:writing")  # a minute later
        await fill(store, ids, edges)
        nodes, found = await contents(store)
        assert (len(nodes), len(found)) == (2_000, 2_000)


async def test_brief_cuts_go_unnoticed(proxied: tuple[CuttingProxy, str]) -> None:
    """A batch whose answer was lost is repeated; the counts stay right, because running a script twice does no harm."""
    proxy, url = proxied
    ids = [f"n{number}" for number in range(1_000)]
    async with opened(f"{url}&batch_rows=100") as store:
        for cut_bytes in (1, 300, 3_000, 9_000):
            async with store.replace() as replacement:
                proxy.cut_after_bytes = cut_bytes
                await replacement.add_nodes(node_rows(ids))
                proxy.cut_after_bytes = cut_bytes
                await replacement.add_edges(
                    edge_rows([(one, other, 1.0) for one, other in zip(ids, ids[::-1], strict=True)])
                )
                proxy.cut_after_bytes = 1
                await replacement.commit()
            proxy.restore()
            nodes, edges = await contents(store)
            assert (len(nodes), len(edges)) == (1_000, 1_000)


async def test_a_slow_connection_is_only_slow(proxied: tuple[CuttingProxy, str]) -> None:
    proxy, url = proxied
    async with opened(url) as store:
        proxy.delay_s = 0.05
        await fill(store, *SMALL)
        assert (await contents(store))[1] == {("a", "b"): 1.0}


@pytest.mark.parametrize("value", ["cheap", "-1", "nan", "inf", "1e308"])
async def test_an_invalid_cost_is_an_error(url: str, admin: redis.Redis, value: str) -> None:
    """Without the invalid edge the answer would be a different one, unnoticed."""
    async with opened(url) as store:
        await fill(store, ["a", "b", "c"], [("a", "b", 1.0), ("b", "c", 1.0), ("a", "c", 5.0)])
        admin.hset(next(key for key in keys_of(admin, url) if key.endswith(":o:b")), "c", value)
        with pytest.raises(InvalidGraph, match=f"edge from 'b' to 'c', field cost: .*{value}"):
            await store.shortest_path("a", "c")


async def test_a_row_that_another_client_removed_is_an_error(url: str, admin: redis.Redis) -> None:
    async with opened(url) as store:
        await fill(store, ["a", "b", "c"], [("a", "b", 1.0), ("b", "c", 1.0), ("a", "c", 5.0)])
        admin.hdel(next(key for key in keys_of(admin, url) if key.endswith(":o:b")), "c")
        with pytest.raises(InvalidGraph, match="edge from 'b' to 'c'"):
            await store.shortest_path("a", "c")


async def test_a_search_settles_at_most_the_allowed_nodes(url: str) -> None:
    """Searching from both ends settles five nodes of a chain of six."""
    ids = [f"n{number}" for number in range(6)]
    chain = [(one, other, 1.0) for one, other in itertools.pairwise(ids)]
    async with opened(f"{url}&settled_max=5") as store:
        await fill(store, ids, chain)
        assert (await store.shortest_path("n0", "n5")).cost == 5.0
    for settled_max in range(1, 5):
        async with opened(f"{url}&settled_max={settled_max}") as store:
            with pytest.raises(LimitExceeded, match=f" {settled_max} settled nodes") as refused:
                await store.shortest_path("n0", "n5")
            assert refused.value.metadata["bound"] == "settled_max"


async def test_the_time_is_checked_between_the_edges_of_one_node(url: str) -> None:
    """Without any time left, a search of three nodes ends, because one of them has thousands of edges."""
    leaves = [f"l{number}" for number in range(10_000)]
    async with opened(url) as store:
        await fill(store, ["a", "hub", "z", *leaves], [("a", "hub", 1.0), *(("hub", leaf, 1.0) for leaf in leaves)])
        await store.upsert_edges(edge_rows([("l0", "z", 9.0), ("l1", "z", 9.0)]))
        assert (await store.shortest_path("a", "z")).cost == 11.0
    location = parse_store_url(url)
    scripts = RedisScripts(location, read_options(location, RedisOptions).graph, 30.0, 5.0)
    assert await scripts.run("path", "a", "z", "-1", "1000000", repr(COST_MAX)) == ["late"]
    await scripts.close()


def test_the_scripts_have_the_bounds_of_the_program() -> None:
    """Nodes in other buckets would not be read, and rows that expire before their graph would be missing."""
    common = (files("planmesh.store.redis") / "lua" / "common.lua").read_text()
    known = {name: int(value) for name, value in re.findall(r"^local ([A-Z_]+) = (\d+)$", common, re.MULTILINE)}
    assert known["BUCKETS"] == BUCKETS
    assert known["OUTLAST_MS"] > WRITING_S_MAX * 1_000


async def test_a_search_is_bounded(url: str) -> None:
    ids = [f"n{number}" for number in range(5_000)]
    chain = [(one, other, 1.0) for one, other in itertools.pairwise(ids)]
    async with opened(f"{url}&settled_max=1000") as store:
        await fill(store, ids, chain)
        with pytest.raises(LimitExceeded, match="1,000 settled nodes"):
            await store.shortest_path(ids[0], ids[-1])
    with pytest.raises((DeadlineExceeded, StoreUnavailable)):
        async with opened(f"{url}&timeout_s=0.002") as store:  # may fail even here on a busy machine
            await store.shortest_path(ids[0], ids[-1])


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """A redis-server in cluster mode that owns every slot."""
    port = next(port for port in iter(free_port, None) if port + CLUSTER_BUS_OFFSET < 65_536)
    process = subprocess.Popen(
        [find_redis_server(), "--port", str(port), "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--save", ""],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    try:
        client: Any = redis.Redis(port=port, retry=Retry(ConstantBackoff(0.05), 200))
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
        while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
            time.sleep(0.01)
        client.close()
        yield f"redis+cluster://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


async def test_in_a_cluster(cluster: str) -> None:
    for graph in ("one", "two", "three"):
        async with opened(f"{cluster}?graph={graph}") as store:
            assert (await store.health()).server.startswith("Redis")
            await fill(store, *SMALL)
            await store.upsert_nodes(node_rows([graph]))
            await store.upsert_edges(edge_rows([("b", graph, 2.0)]))
            assert (await store.shortest_path("a", graph)).cost == 3.0
            await fill(store, ["a", "b", graph], [("a", "b", 1.0), ("b", graph, 2.0)])
            assert set((await contents(store))[0]) == {"a", "b", graph}
    with pytest.raises(InvalidRequest, match="only database 0"):
        await open_store(f"{cluster}/3")
