"""Replays of stored rows into a spool."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from planmesh.errors import InvalidGraph
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.snapshot.build_folder import BuildFolder
from planmesh.telemetry.tracing import make_telemetry
from planmesh.versions.embedded import EmbeddedVersions
from planmesh.versions.protocol import StoredVersion
from services.partition.blocking import BlockingWork
from services.partition.ingest.options import LoadOptions
from services.partition.ingest.progress import LoadProgress
from services.partition.ingest.replay import replay, spool_rows
from services.partition.ingest.spool import GraphSpool

OPTIONS = LoadOptions(graph="g")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedVersions]:
    made = EmbeddedVersions(tmp_path / "store")
    yield made
    await made.close()


@pytest.fixture
def work() -> BlockingWork:
    return BlockingWork("test")


async def write(store: EmbeddedVersions, targets: list[str]) -> StoredVersion:
    async with store.write("g") as writer:
        await writer.add_nodes(NodeRows(["b", "a"], ["x", ""], ["", "r"]))
        await writer.add_edges(EdgeRows(["a", "b"], targets, np.array([2.5, 1.0])))
        return await writer.commit(1, "")


def build_folder(path: Path) -> BuildFolder:
    folder = BuildFolder(path)
    folder.create()
    return folder


async def test_a_replay_gives_the_arrays_and_the_rows_of_the_first_time(
    store: EmbeddedVersions, work: BlockingWork, tmp_path: Path
) -> None:
    stored = await write(store, ["b", "a"])
    progress = LoadProgress("g", make_telemetry("test"))
    async with store.write("g") as writer:

        async def feed(spool: GraphSpool) -> None:
            await replay(store, stored, spool, work, progress, writer)

        spooled = await spool_rows(OPTIONS, build_folder(tmp_path / "build"), work, feed)
        copied = await writer.commit(2, "")
    assert spooled.ids.names(np.arange(2, dtype=np.int32)) == ["b", "a"]
    assert (spooled.tails.tolist(), spooled.heads.tolist(), spooled.costs.tolist()) == ([1, 0], [0, 1], [2.5, 1.0])
    assert (spooled.domains[0].tolist(), spooled.domains[1]) == ([0, -1], ["x"])
    assert (spooled.regions[0].tolist(), spooled.regions[1]) == ([-1, 0], ["r"])
    assert progress.text() == "read, 4 of 4"
    assert (copied.nodes, copied.edges) == (2, 2)
    (nodes,) = [rows async for rows in store.read_nodes("g", 2)]
    assert (nodes.ids, nodes.domains, nodes.regions) == (["b", "a"], ["x", ""], ["", "r"])
    work.close()


async def test_a_bad_stored_row_is_named_by_its_place(
    store: EmbeddedVersions, work: BlockingWork, tmp_path: Path
) -> None:
    stored = await write(store, ["b", "nothing"])
    progress = LoadProgress("g", make_telemetry("test"))
    with pytest.raises(InvalidGraph, match="'nothing'") as raised:
        await spool_rows(
            OPTIONS,
            build_folder(tmp_path / "build"),
            work,
            lambda spool: replay(store, stored, spool, work, progress),
        )
    assert (raised.value.metadata["source"], raised.value.metadata["record"]) == ("store edges", "record 4")
    work.close()
