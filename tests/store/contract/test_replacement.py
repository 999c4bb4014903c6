"""Replacing a graph, all or nothing: the contract of every GraphStore."""

from __future__ import annotations

import asyncio

import pytest

from planmesh.errors import Conflict, PlanmeshError
from planmesh.store.protocol import GraphStore
from planmesh.store.urls import open_store
from tests.store.contract.rows import contents, edge_rows, fill, node_rows

OLD = ({"a": ("old", ""), "b": ("", "")}, {("a", "b"): 1.0})


async def with_old(store: GraphStore) -> str:
    return await fill(store, OLD[0], [("a", "b", 1.0)])


async def test_the_new_graph_replaces_the_old(store: GraphStore) -> None:
    before = await with_old(store)
    async with store.replace() as replacement:
        await replacement.add_nodes(node_rows(["b", "c"]))
        await replacement.add_nodes(node_rows({"c": ("later", "")}))
        await replacement.add_edges(edge_rows([("b", "c", 5.0), ("c", "b", 2.0)]))
        await replacement.add_edges(edge_rows([("b", "c", 4.0), ("b", "c", 6.0)]))
        if store.traits.atomic_replacement:
            assert await contents(store) == OLD
            assert await store.revision() == before
        revision = await replacement.commit()
        assert await store.revision() == revision != before
    assert await contents(store) == ({"b": ("", ""), "c": ("later", "")}, {("b", "c"): 4.0, ("c", "b"): 2.0})


async def test_without_a_commit_nothing_changes(store: GraphStore) -> None:
    if not store.traits.atomic_replacement:
        pytest.skip("this store replaces in steps that can be seen")
    before = await with_old(store)
    async with store.replace() as replacement:
        await replacement.add_nodes(node_rows(["x"]))

    async def fail() -> None:
        async with store.replace() as replacement:
            await replacement.add_nodes(node_rows(["y"]))
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        await fail()
    assert await contents(store) == OLD
    assert await store.revision() == before


async def test_a_cancelled_replacement_changes_nothing_and_releases_the_lock(store: GraphStore) -> None:
    if not store.traits.atomic_replacement:
        pytest.skip("this store replaces in steps that can be seen")
    await with_old(store)
    begun = asyncio.Event()

    async def replace() -> None:
        async with store.replace() as replacement:
            await replacement.add_nodes(node_rows(["x"]))
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(replace())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await contents(store) == OLD
    await fill(store, ["z"], [])
    assert set((await contents(store))[0]) == {"z"}


async def test_an_edge_to_nowhere_refuses_the_replacement(store: GraphStore) -> None:
    await with_old(store)

    async def replace() -> None:
        async with store.replace() as replacement:
            await replacement.add_nodes(node_rows(["a"]))
            await replacement.add_edges(edge_rows([("a", "nowhere", 1.0)]))
            await replacement.commit()

    with pytest.raises(PlanmeshError, match="nowhere"):
        await replace()
    if store.traits.atomic_replacement:
        assert await contents(store) == OLD


async def test_one_replacement_at_a_time(store_url: str) -> None:
    one, other = await open_store(store_url), await open_store(store_url)

    async def second() -> None:
        async with other.replace() as replacement:
            await replacement.add_nodes(node_rows(["other"]))

    async with one.replace() as replacement:
        await replacement.add_nodes(node_rows(["mine"]))
        with pytest.raises(Conflict):
            await second()
        await replacement.commit()
    assert set((await contents(other))[0]) == {"mine"}
    await one.close()
    await other.close()


async def test_replacement_by_an_empty_graph(store: GraphStore) -> None:
    await with_old(store)
    async with store.replace() as replacement:
        await replacement.commit()
    assert await contents(store) == ({}, {})


async def test_readers_see_either_the_old_graph_or_the_new(store: GraphStore) -> None:
    """Every reading that reports one state has all of one graph."""
    if not store.traits.atomic_replacement:
        pytest.skip("this store replaces in steps that can be seen")
    graphs = [
        (
            [f"{number}-{node}" for node in range(50)],
            [(f"{number}-{node}", f"{number}-{(node + 1) % 50}", float(number)) for node in range(50)],
        )
        for number in range(6)
    ]
    await fill(store, *graphs[0])
    ended = asyncio.Event()
    whole = 0

    async def read() -> None:
        nonlocal whole
        while not ended.is_set():
            try:
                async with store.read() as reading:
                    nodes = [one async for rows in reading.nodes() for one in rows.ids]
                    edges = [one async for rows in reading.edges() for one in rows.sources]
                    if await reading.unchanged():
                        whole += 1
                        assert len(nodes) == len(edges) == 50
                        assert sorted(nodes) == sorted(edges)
                        assert len({node.partition("-")[0] for node in nodes}) == 1
            except Conflict:
                continue  # the graph was replaced during the reading

    readers = [asyncio.create_task(read()) for _ in range(3)]
    for graph in graphs:
        await fill(store, *graph)
    ended.set()
    await asyncio.gather(*readers)
    assert whole > 0
