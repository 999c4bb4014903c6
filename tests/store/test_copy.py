"""Copies of a graph from one store into another."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import redis.asyncio

from planmesh.chaos.cutting_proxy import cutting_proxy
from planmesh.errors import Conflict, InvalidRequest, StoreError, StoreUnavailable
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.store.content_hash import ContentHash
from planmesh.store.copy import CopyReport, copy_graph
from planmesh.store.protocol import GraphStore
from planmesh.store.redis.reading import RedisReading
from planmesh.store.urls import open_store
from tests.conftest import ROOT, RedisServer, run_planmesh
from tests.store.contract.rows import Edges, Nodes, contents, edge_rows, fill, node_rows

COUNT = 3_000
IDS = [f"n{number}" for number in range(COUNT)]
NODES: Nodes = {one: (f"d{number % 7}", "") for number, one in enumerate(IDS)}
EDGES = [(one, IDS[(number * 7 + 1) % COUNT], number / 16) for number, one in enumerate(IDS)]


@pytest.fixture
def redis_url(shared_redis: RedisServer) -> str:
    return f"{shared_redis.url}?graph={secrets.token_hex(4)}"


@pytest.fixture
def other_redis_url(shared_redis: RedisServer) -> str:
    return f"{shared_redis.url}?graph={secrets.token_hex(4)}&batch_rows=100"


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/graph.db"


async def filled(url: str) -> tuple[Nodes, Edges]:
    store = await open_store(url)
    await fill(store, NODES, EDGES)
    return await closed(store)


async def stored(url: str) -> tuple[Nodes, Edges]:
    return await closed(await open_store(url))


async def closed(store: GraphStore) -> tuple[Nodes, Edges]:
    found = await contents(store)
    await store.close()
    return found


async def copy(source: str, target: str, work: Path) -> CopyReport:
    steps: list[str] = []
    report = await copy_graph(source, target, work, lambda step, _done, _total: steps.append(step))
    assert steps[-1] == "verify"
    assert not any(work.iterdir()), "no working files are left"
    return report


async def test_there_and_back(redis_url: str, other_redis_url: str, sqlite_url: str, tmp_path: Path) -> None:
    graph = await filled(redis_url)
    there = await copy(redis_url, sqlite_url, tmp_path / "work")
    back = await copy(sqlite_url, other_redis_url, tmp_path / "work")
    across = await copy(other_redis_url, redis_url, tmp_path / "work")
    assert graph == await stored(sqlite_url) == await stored(other_redis_url) == await stored(redis_url)
    assert {(one.nodes, one.edges, one.parallel_edges, one.resumed) for one in (there, back, across)} == {
        (COUNT, COUNT, 0, False)
    }
    assert len({one.content_hash for one in (there, back, across)}) == 1


async def test_the_targets_old_graph_is_gone(sqlite_url: str, redis_url: str, tmp_path: Path) -> None:
    store = await open_store(redis_url)
    await fill(store, ["other"], [("other", "other", 1.0)])
    await store.close()
    graph = await filled(sqlite_url)
    await copy(sqlite_url, redis_url, tmp_path / "work")
    assert await stored(redis_url) == graph
    store = await open_store(sqlite_url)
    await fill(store, [], [])
    await store.close()
    await copy(sqlite_url, redis_url, tmp_path / "work")
    assert await stored(redis_url) == ({}, {})


async def test_a_copy_whose_target_failed_does_not_read_again(
    redis_url: str, shared_redis: RedisServer, tmp_path: Path
) -> None:
    graph = await filled(redis_url)
    password = urlsplit(redis_url).password
    async with cutting_proxy("127.0.0.1", shared_redis.prepared.port) as proxy:
        target = f"redis://:{password}@127.0.0.1:{proxy.port}/0?graph={secrets.token_hex(4)}&batch_rows=100"

        def cut(step: str, done: int, _total: int) -> None:
            if step == "write" and done > COUNT:
                proxy.refuses = True
                proxy.cut()

        with pytest.raises(StoreUnavailable):
            await copy_graph(redis_url, target, tmp_path / "work", cut)
        proxy.restore()
        assert await stored(target) == ({}, {}), "no client sees a partial copy"
        await release_lease(redis_url, target)
        report = await copy(redis_url, target, tmp_path / "work")
        assert report.resumed
        assert await stored(target) == graph

        proxy.refuses = False
        with pytest.raises(StoreUnavailable):
            await copy_graph(redis_url, target, tmp_path / "work", cut)
        proxy.restore()
        await release_lease(redis_url, target)
        source = await open_store(redis_url)
        await source.upsert_nodes(node_rows(["late"]))
        await source.close()
        report = await copy(redis_url, target, tmp_path / "work")
        assert not report.resumed, "the source has changed since"
        assert "late" in (await stored(target))[0]


async def release_lease(admin_url: str, target: str) -> None:
    """Release the lease of a replacement, as if the minute after its last sign of life had passed."""
    graph = target.partition("graph=")[2].partition("&")[0]
    async with redis.asyncio.Redis.from_url(admin_url.partition("?")[0]) as admin:
        await admin.delete(f"{{planmesh:{graph}}}:writing")


async def test_a_killed_copy_resumes(
    redis_url: str, sqlite_url: str, shared_redis: RedisServer, tmp_path: Path
) -> None:
    graph = await filled(redis_url)
    work = tmp_path / "work"
    code = "import sys; from planmesh.cli.main import main; sys.argv[0] = 'planmesh'; main()"
    for lines in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", code, "store", "copy", redis_url, sqlite_url, "--work", str(work)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
        )
        wanted = "*/rows.sqlite" if lines == 0 else "*/journal.json"
        while process.poll() is None and not list(work.glob(wanted)):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    report = await copy(redis_url, sqlite_url, work)
    assert (report.nodes, report.edges) == (COUNT, COUNT)
    assert await stored(sqlite_url) == graph


async def test_parallel_edges_are_merged_and_counted(
    redis_url: str, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that others filled may have parallel edges; here its reading is patched to yield each edge twice."""
    await filled(redis_url)
    read_edges = RedisReading.edges

    async def doubled(self: RedisReading) -> AsyncIterator[EdgeRows]:
        async for rows in read_edges(self):
            yield EdgeRows(rows.sources, rows.targets, rows.costs + 1)
            yield rows

    monkeypatch.setattr(RedisReading, "edges", doubled)
    report = await copy(redis_url, sqlite_url, tmp_path / "work")
    assert (report.edges, report.parallel_edges) == (COUNT, COUNT)
    assert (await stored(sqlite_url))[1] == {(source, target): cost for source, target, cost in EDGES}


async def test_a_copy_that_differs_is_an_error(
    sqlite_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(sqlite_url)
    read_nodes = RedisReading.nodes

    async def invalid(self: RedisReading) -> AsyncIterator[NodeRows]:
        async for rows in read_nodes(self):
            yield NodeRows(rows.ids, ["else", *rows.domains[1:]], rows.regions)

    monkeypatch.setattr(RedisReading, "nodes", invalid)
    with pytest.raises(StoreError, match="the copy differs from what was written"):
        await copy_graph(sqlite_url, redis_url, tmp_path / "work", lambda *_: None)


async def test_a_source_that_is_written_to_is_refused(redis_url: str, sqlite_url: str, tmp_path: Path) -> None:
    await filled(redis_url)
    source = await open_store(redis_url)

    async def write() -> None:
        await source.upsert_nodes(node_rows(["late"]))

    tasks: list[asyncio.Task[None]] = []

    def show(step: str, done: int, _total: int) -> None:
        if step == "read" and not tasks:
            tasks.append(asyncio.create_task(write()))

    with pytest.raises(Conflict, match="was written to while it was read"):
        await copy_graph(redis_url, sqlite_url, tmp_path / "work", show)
    await source.close()
    assert await stored(sqlite_url) == ({}, {})


async def test_the_same_store_twice(sqlite_url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="two different stores"):
        await copy_graph(sqlite_url, sqlite_url, tmp_path, lambda *_: None)


async def test_the_command(sqlite_url: str, redis_url: str, tmp_path: Path) -> None:
    await filled(sqlite_url)
    arguments = ("store", "copy", sqlite_url, redis_url, "--work", str(tmp_path / "work"))
    printed = json.loads(run_planmesh(*arguments, "--json").stdout)
    assert list(printed) == [
        *("source", "target", "nodes", "edges", "parallel_edges", "content_hash", "revision", "resumed", "seconds")
    ]
    assert (printed["source"], printed["nodes"], printed["edges"]) == (sqlite_url, COUNT, COUNT)
    assert not (tmp_path / "work").exists()
    assert f"copied 3,000 nodes, 3,000 edges from {sqlite_url}" in run_planmesh(*arguments).stdout.replace("\n", " ")
    looked = json.loads(run_planmesh("store", "check", redis_url, "--json").stdout)
    assert list(looked) == [
        *("store", "server", "latency_ms", "nodes", "edges", "revision"),
        *("consistent_reads", "atomic_batches", "atomic_replacement", "patterns"),
    ]
    assert (looked["nodes"], looked["edges"], looked["revision"]) == (
        *(COUNT, COUNT),
        json.loads(run_planmesh("store", "check", redis_url, "--json").stdout)["revision"],
    )
    password = str(urlsplit(redis_url).password)
    assert password not in json.dumps(looked) + json.dumps(printed)
    assert looked["server"] in run_planmesh("store", "check", redis_url).stdout


def test_the_hash_depends_on_content_only() -> None:
    def digest(nodes: list[NodeRows], edges: list[EdgeRows]) -> str:
        found = ContentHash()
        for rows in nodes:
            found.add_nodes(rows)
        for one in edges:
            found.add_edges(one)
        return found.text()

    nodes = node_rows({"a": ("x", ""), "b": ("", "y")})
    edges = edge_rows([("a", "b", 0.0), ("b", "a", 1.0)])
    same = digest(
        [node_rows({"b": ("", "y")}), node_rows({"a": ("x", "")})], [edge_rows([("b", "a", 1.0), ("a", "b", -0.0)])]
    )
    assert digest([nodes], [edges]) == same
    different = [
        digest([nodes], []),
        digest([], [edges]),
        digest([node_rows({"a": ("", "x"), "b": ("", "y")})], [edges]),
        digest([nodes], [edge_rows([("b", "a", 0.0), ("a", "b", 1.0)])]),
        digest([nodes], [edge_rows([("a", "b", 0.0), ("b", "a", float(np.nextafter(1.0, 2)))])]),
        digest([nodes, node_rows({"c": ("", "")})], [edges]),
    ]
    assert len({same, *different}) == 7
