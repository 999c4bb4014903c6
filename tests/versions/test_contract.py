"""The contract of every VersionStore. The embedded store is the reference."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planmesh.errors import SnapshotError, VersionGone
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.versions.embedded import EmbeddedVersions
from planmesh.versions.protocol import StoredVersion, VersionStore, VersionWriter

OpenStore = Callable[[], VersionStore]

IDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
COSTS = st.floats(0, 1e300)


@pytest.fixture(params=["embedded"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """Returns a function that opens the same store each time. Close it before opening it again."""
    assert request.param == "embedded"
    return lambda: EmbeddedVersions(tmp_path / "store")


@asynccontextmanager
async def opened(open_store: OpenStore) -> AsyncIterator[VersionStore]:
    store = open_store()
    try:
        yield store
    finally:
        await store.close()


async def write(
    store: VersionStore, graph: str, nodes: list[str], edges: list[tuple[str, str, float]]
) -> StoredVersion:
    async with store.write(graph) as writer:
        await add(writer, nodes, edges)
        return await writer.commit(await store.next_version(graph), f"description of {graph}")


async def add(writer: VersionWriter, nodes: list[str], edges: list[tuple[str, str, float]]) -> None:
    for start in range(0, len(nodes), 3):
        ids = nodes[start : start + 3]
        await writer.add_nodes(NodeRows(ids, [f"d{len(one)}" for one in ids], [""] * len(ids)))
    for start in range(0, len(edges), 3):
        sources, targets, costs = zip(*edges[start : start + 3], strict=True)
        await writer.add_edges(EdgeRows(list(sources), list(targets), np.array(costs)))


async def read(
    store: VersionStore, graph: str, version: int
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, float]]]:
    nodes: list[tuple[str, str, str]] = []
    async for batch in store.read_nodes(graph, version):
        nodes += zip(batch.ids, batch.domains, batch.regions, strict=True)
    edges: list[tuple[str, str, float]] = []
    async for rows in store.read_edges(graph, version):
        edges += zip(rows.sources, rows.targets, rows.costs.tolist(), strict=True)
    return nodes, edges


@given(nodes=st.lists(IDS, unique=True, max_size=20), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
async def test_rows_are_read_in_the_order_of_writing_bit_for_bit(
    open_store: OpenStore, nodes: list[str], data: st.DataObject
) -> None:
    ends = st.sampled_from(nodes or ["x"])
    edges = data.draw(st.lists(st.tuples(ends, ends, COSTS), max_size=20))
    async with opened(open_store) as store:
        stored = await write(store, "g", nodes, edges)
        assert (stored.nodes, stored.edges, stored.description) == (len(nodes), len(edges), "description of g")
        assert await read(store, "g", stored.version) == ([(one, f"d{len(one)}", "") for one in nodes], edges)


async def test_more_rows_than_a_row_group_are_read_back(open_store: OpenStore) -> None:
    count = 300_000
    ids = [f"node-{number}" for number in range(count)]
    async with opened(open_store) as store:
        async with store.write("g") as writer:
            for start in range(0, count, 65_536):
                chunk = ids[start : start + 65_536]
                await writer.add_nodes(NodeRows(chunk, [""] * len(chunk), [""] * len(chunk)))
            await writer.commit(1, "")
        nodes, edges = await read(store, "g", 1)
    assert [one[0] for one in nodes] == ids
    assert edges == []


async def test_versions_grow_and_survive_closing(open_store: OpenStore) -> None:
    async with opened(open_store) as store:
        await store.health()
        assert await store.versions() == []
        assert await store.next_version("g") == 1
        first = await write(store, "g", ["a", "b"], [("a", "b", 1.0)])
        second = await write(store, "g", ["a"], [])
        other = await write(store, "another", ["x"], [])
    assert (first.version, second.version, other.version) == (1, 2, 1)
    async with opened(open_store) as store:
        assert await store.versions() == [other, first, second]
        assert (await read(store, "g", 1))[1] == [("a", "b", 1.0)]
        assert (await read(store, "g", 2))[1] == []


async def test_uncommitted_rows_leave_no_version(open_store: OpenStore) -> None:
    async with opened(open_store) as store:
        async with store.write("g") as writer:
            await add(writer, ["a", "b"], [("a", "b", 1.0)])

        async def fail() -> None:
            async with store.write("g") as writer:
                await add(writer, ["a"], [])
                raise RuntimeError("midway")

        with pytest.raises(RuntimeError, match="midway"):
            await fail()
        assert await store.versions() == []
        assert await store.next_version("g") == 1
        with pytest.raises(VersionGone):
            await read(store, "g", 1)


async def test_two_graphs_are_written_at_once(open_store: OpenStore) -> None:
    async with opened(open_store) as store, store.write("g") as one, store.write("h") as other:
        await add(one, ["a"], [])
        await add(other, ["x", "y"], [("x", "y", 2.0)])
        await one.commit(1, "")
        await other.commit(1, "")
        assert (await read(store, "g", 1), await read(store, "h", 1)) == (
            ([("a", "d1", "")], []),
            ([("x", "d1", ""), ("y", "d1", "")], [("x", "y", 2.0)]),
        )


async def test_removed_versions_are_gone_and_their_numbers_are_not_reused(open_store: OpenStore) -> None:
    async with opened(open_store) as store:
        for _ in range(3):
            await write(store, "g", ["a"], [])
        await store.remove_version("g", 2)
        await store.remove_version("g", 2)
        assert [stored.version for stored in await store.versions()] == [1, 3]
        with pytest.raises(VersionGone):
            await read(store, "g", 2)
        await store.remove_graph("g")
        await store.remove_graph("unknown")
        assert await store.versions() == []
    async with opened(open_store) as store:
        assert await store.next_version("g") == 4
        assert (await write(store, "g", ["b"], [])).version == 4


async def test_sealed_rows_outlive_the_store_and_can_be_committed_later(open_store: OpenStore) -> None:
    edges = [("a", "b", 1.0), ("b", "c", 2.0)]
    async with opened(open_store) as store, store.write("g") as writer:
        await add(writer, ["a", "b", "c"], edges)
        token = await writer.seal()
        assert await writer.seal() == token
        writer.keep()
    async with opened(open_store) as store:
        assert (await store.sealed(), await store.versions()) == ([token], [])
        async with store.resume("g", token) as writer:
            await writer.commit(1, "resumed")
        assert await store.sealed() == []
        assert [(one.version, one.nodes, one.edges, one.description) for one in await store.versions()] == [
            (1, 3, 2, "resumed")
        ]
        assert (await read(store, "g", 1))[1] == edges
        with pytest.raises(SnapshotError, match="load the graph again"):
            async with store.resume("g", token):
                raise AssertionError("there is nothing to resume")
    async with opened(open_store) as store:
        assert (await store.sealed(), len(await store.versions())) == ([], 1)


async def test_sealed_rows_are_dropped_unless_kept(open_store: OpenStore) -> None:
    async with opened(open_store) as store:
        async with store.write("g") as writer:
            await add(writer, ["a"], [])
            await writer.seal()
        assert await store.sealed() == []
        async with store.write("g") as writer:
            await add(writer, ["a"], [])
            token = await writer.seal()
            writer.keep()
        async with store.resume("g", token) as writer:
            writer.keep()
        assert await store.sealed() == [token]
        await store.drop_sealed(token)
        await store.drop_sealed(token)
        assert await store.sealed() == []
        async with store.write("g") as writer:
            writer.keep()  # has no effect on rows that are not sealed
        assert await store.sealed() == []
