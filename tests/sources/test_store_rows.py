"""A source written into a store, and a store read as a source."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from planmesh.errors import Conflict, InvalidGraph
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.graph.rules import Origin
from planmesh.ingest import GraphSource, open_source
from planmesh.sources.store_rows import StoreSource, write_to_store
from planmesh.store.urls import open_store
from tests.store.contract.rows import contents, edge_rows, fill, node_rows


def ignore(_source: GraphSource) -> None:
    pass


async def written(folder: Path, edges: str, nodes: str = "", *, undirected: bool = False) -> tuple[int, object]:
    """Write files into a store; return the edges written and the store's content."""
    (folder / "e.csv").write_text(edges)
    if nodes:
        (folder / "n.csv").write_text(nodes)
    source = open_source(folder / "e.csv", folder / "n.csv" if nodes else None)
    url = f"sqlite:///{folder}/graph.db"
    report = await write_to_store(source, url, undirected=undirected, show=ignore)
    store = await open_store(url)
    try:
        found = await contents(store)
        assert (report.counts, report.revision) == (await store.counts(), await store.revision())
    finally:
        await store.close()
    return report.rows, found


async def test_ends_of_edges_become_nodes(tmp_path: Path) -> None:
    rows, found = await written(tmp_path, "source,target\na,b\nb,c\na,b\n")
    assert (rows, found) == (3, ({"a": ("", ""), "b": ("", ""), "c": ("", "")}, {("a", "b"): 1.0, ("b", "c"): 1.0}))


async def test_undirected_edges_are_written_in_both_directions(tmp_path: Path) -> None:
    rows, found = await written(tmp_path, "source,target,cost\na,b,2\n", "id,region\na,eu\nb,\n", undirected=True)
    assert (rows, found) == (2, ({"a": ("", "eu"), "b": ("", "")}, {("a", "b"): 2.0, ("b", "a"): 2.0}))


async def test_an_unknown_end_is_named_by_its_line_and_nothing_is_written(tmp_path: Path) -> None:
    await written(tmp_path, "source,target\nx,y\n")
    with pytest.raises(InvalidGraph, match="no node has 'c'") as raised:
        await written(tmp_path, "source,target\na,b\nb,c\n", "id\na\nb\n")
    assert (raised.value.metadata["record"], raised.value.metadata["field"]) == ("line 3", "target")
    store = await open_store(f"sqlite:///{tmp_path}/graph.db")
    try:
        assert set((await contents(store))[0]) == {"x", "y"}
    finally:
        await store.close()


async def test_a_store_is_read_with_the_origin_of_its_rows(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/graph.db"
    store = await open_store(url)
    try:
        await fill(store, {"a": ("d", ""), "b": ("", "")}, [("a", "b", 0.5)])
    finally:
        await store.close()

    def read() -> None:
        source = StoreSource(url)
        nodes, edges = source.batches()
        assert isinstance(nodes, NodeRows)
        assert (nodes.ids, nodes.domains, nodes.origin) == (["a", "b"], ["d", ""], Origin(url, "node", 1))
        assert isinstance(edges, EdgeRows)
        assert (edges.sources, edges.costs.tolist(), edges.origin) == (["a"], [0.5], Origin(url, "edge", 1))
        assert source.bytes_read == source.bytes_total == 3

    await asyncio.to_thread(read)


async def test_a_store_that_changed_is_refused_unless_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/graph.db"
    store = await open_store(url)
    try:
        await store.upsert_nodes(node_rows(["a"]))
        await store.upsert_edges(edge_rows([("a", "a", 1.0)]))
    finally:
        await store.close()

    async def changed(_reading: object) -> bool:
        return False

    monkeypatch.setattr("planmesh.store.sqlite.store.SqliteReading.unchanged", changed)
    with pytest.raises(Conflict, match="--accept-changes"):
        await asyncio.to_thread(lambda: list(StoreSource(url).batches()))
    assert len(await asyncio.to_thread(lambda: list(StoreSource(url, accept_changes=True).batches()))) == 2
