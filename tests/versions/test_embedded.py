from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from planmesh.errors import Conflict, SnapshotError
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.versions.catalog import SCHEMA
from planmesh.versions.embedded import (
    CATALOG_NAME,
    ROWS_FOLDER,
    WRITING_FOLDER,
    EmbeddedVersions,
    EmbeddedVersionWriter,
)
from tests.snapshot.damage import DAMAGES

# Writes version after version, each with `version` * 1,000 nodes, and prints the number of each after its commit.
WRITE_FOREVER = """
import asyncio, sys
from pathlib import Path
import numpy as np
from planmesh.versions.embedded import EmbeddedVersions
from planmesh.graph.rows import EdgeRows, NodeRows

async def main():
    store = EmbeddedVersions(Path(sys.argv[1]))
    print("open", flush=True)
    while True:
        version = await store.next_version("g")
        async with store.write("g") as writer:
            for batch in range(version):
                ids = [f"{version}-{batch}-{number}" for number in range(1000)]
                await writer.add_nodes(NodeRows(ids, [""] * 1000, [""] * 1000))
                await writer.add_edges(EdgeRows(ids, ids[::-1], np.full(1000, float(version))))
            await writer.commit(version, str(version))
        print(version, flush=True)
        if version > 3:
            await store.remove_version("g", version - 3)

asyncio.run(main())
"""

KILLS = 12


async def check_is_whole(store: EmbeddedVersions) -> list[int]:
    """Check that every version of the store has all its rows; return the versions."""
    found = await store.versions()
    for stored in found:
        version = stored.version
        ids = [one async for rows in store.read_nodes("g", version) for one in rows.ids]
        costs = [cost async for rows in store.read_edges("g", version) for cost in rows.costs.tolist()]
        assert (stored.nodes, stored.edges, stored.description) == (1000 * version, 1000 * version, str(version))
        assert ids == [f"{version}-{batch}-{number}" for batch in range(version) for number in range(1000)]
        assert costs == [float(version)] * (1000 * version)
    return [stored.version for stored in found]


def write_and_kill(folder: Path, draw: random.Random, acknowledged: int) -> int:
    """Kill a process at a random moment while it writes versions; return the last version that it acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITE_FOREVER, str(folder)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        for _ in range(draw.randrange(3)):
            acknowledged = int(writer.stdout.readline())
        time.sleep(draw.uniform(0, 0.08))  # a random moment in the middle of a version
        writer.send_signal(signal.SIGKILL)
        return max([acknowledged, *(int(line) for line in writer.stdout if line.strip().isdigit())])


async def test_after_a_kill_at_any_moment_every_version_is_whole_or_absent(tmp_path: Path) -> None:
    draw = random.Random(7)
    acknowledged = 0
    for _ in range(KILLS):
        acknowledged = await asyncio.to_thread(write_and_kill, tmp_path, draw, acknowledged)
        store = EmbeddedVersions(tmp_path)
        versions = await check_is_whole(store)
        next_version = await store.next_version("g")
        await store.close()
        assert not list((tmp_path / WRITING_FOLDER).iterdir())
        graphs = tmp_path / ROWS_FOLDER
        assert {int(one.name) for graph in graphs.iterdir() for one in graph.iterdir()} == set(versions)
        # Acknowledged versions exist. One more may have been committed before its acknowledgement was printed.
        assert next_version - 1 in {acknowledged, acknowledged + 1}
        assert max(versions, default=0) == next_version - 1
    assert acknowledged >= 3


async def test_a_commit_killed_between_its_steps_leaves_sealed_rows(tmp_path: Path) -> None:
    store = EmbeddedVersions(tmp_path)
    async with store.write("g") as writer:
        await writer.add_nodes(NodeRows(["a"], [""], [""]))
        token = await writer.seal()
        await writer.commit(1, "")
    await store.close()
    with sqlite3.connect(tmp_path / CATALOG_NAME) as connection:
        connection.execute("DELETE FROM version")
    connection.close()
    store = EmbeddedVersions(tmp_path)
    assert (await store.sealed(), list((tmp_path / ROWS_FOLDER / "g").iterdir())) == ([token], [])
    async with store.resume("g", token) as writer:
        await writer.commit(1, "")
    assert [stored.version for stored in await store.versions()] == [1]
    await store.close()


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
async def test_damaged_sealed_rows_are_not_resumed(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    store = EmbeddedVersions(tmp_path)
    async with store.write("g") as writer:
        await writer.add_nodes(NodeRows(["a"], [""], [""]))
        token = await writer.seal()
        writer.keep()
    damage(tmp_path / WRITING_FOLDER / token / "nodes.parquet")
    with pytest.raises(SnapshotError, match=r"nodes\.parquet.*load the graph again"):
        async with store.resume("g", token):
            raise AssertionError("there is nothing to resume")
    await store.close()


async def write_one(folder: Path) -> EmbeddedVersions:
    store = EmbeddedVersions(folder)
    async with store.write("g") as writer:
        ids = [f"n{number}" for number in range(500)]
        await writer.add_nodes(NodeRows(ids, [""] * 500, [""] * 500))
        await writer.add_edges(EdgeRows(ids, ids[::-1], np.arange(500.0)))
        await writer.commit(1, "")
    return store


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", ["nodes.parquet", "edges.parquet"])
async def test_damaged_rows_are_an_error_that_names_the_file(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    store = await write_one(tmp_path)
    damage(tmp_path / ROWS_FOLDER / "g" / "1" / name)
    with pytest.raises(SnapshotError, match=f"g/1/{name}"):
        [rows async for rows in (store.read_nodes if name == "nodes.parquet" else store.read_edges)("g", 1)]
    await store.health()
    await store.close()


async def test_one_process_owns_the_folder(tmp_path: Path) -> None:
    store = EmbeddedVersions(tmp_path)
    with pytest.raises(Conflict, match="another running partition service"):
        EmbeddedVersions(tmp_path)
    await store.close()
    await EmbeddedVersions(tmp_path).close()


async def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    await (await write_one(tmp_path)).close()
    with sqlite3.connect(tmp_path / CATALOG_NAME) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    connection.close()
    with pytest.raises(SnapshotError, match="newer planmesh"):
        EmbeddedVersions(tmp_path)
    assert (tmp_path / ROWS_FOLDER / "g" / "1" / "nodes.parquet").exists()


async def test_a_broken_catalog_is_refused_and_the_rows_are_left_alone(tmp_path: Path) -> None:
    await (await write_one(tmp_path)).close()
    (tmp_path / CATALOG_NAME).write_bytes(b"this is not a database" * 100)
    with pytest.raises(SnapshotError, match=CATALOG_NAME):
        EmbeddedVersions(tmp_path)
    assert (tmp_path / ROWS_FOLDER / "g" / "1" / "nodes.parquet").exists()


async def test_a_commit_to_an_unusable_folder_is_an_error(tmp_path: Path) -> None:
    store = await write_one(tmp_path)
    (tmp_path / ROWS_FOLDER / "g" / "2").write_bytes(b"in the way")

    async def write_second() -> None:
        async with store.write("g") as writer:
            await writer.add_nodes(NodeRows(["a"], [""], [""]))
            await writer.commit(2, "")

    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        await write_second()
    assert [stored.version for stored in await store.versions()] == [1]
    assert not list((tmp_path / WRITING_FOLDER).iterdir())
    await store.close()


async def test_a_writer_that_is_cancelled_while_it_opens_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    created, cancelled = threading.Event(), threading.Event()
    create = EmbeddedVersionWriter._create

    def create_slowly(writer: EmbeddedVersionWriter) -> None:
        create(writer)
        created.set()
        assert cancelled.wait(60)

    monkeypatch.setattr(EmbeddedVersionWriter, "_create", create_slowly)
    store = EmbeddedVersions(tmp_path)

    async def write() -> None:
        async with store.write("g"):
            raise AssertionError("it was cancelled before")

    writing = asyncio.create_task(write())
    await asyncio.to_thread(created.wait)
    writing.cancel()
    cancelled.set()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert not list((tmp_path / WRITING_FOLDER).iterdir())
    await store.close()
