"""Behaviour specific to the embedded store: its file, and processes that are killed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from planmesh.errors import Conflict, DeadlineExceeded, InvalidGraph, InvalidRequest, StoreRefused, StoreUnavailable
from planmesh.store.protocol import GraphStore
from planmesh.store.sqlite import search
from planmesh.store.sqlite.tables import SCHEMA
from planmesh.store.urls import open_store
from tests.store.contract.changed import changes, state_of
from tests.store.contract.rows import contents, edge_rows, fill, node_rows, read_all
from tests.store.opened import opened

# Writes batches of 200 nodes and 200 edges between them, and prints each acknowledged write. Every fifth is a
# replacement by a graph of that batch alone.
WRITE_FOR_EVER = """
import asyncio, sys
from planmesh.store.urls import open_store
from tests.store.contract.changed import changes, state_of
from tests.store.contract.rows import edge_rows, node_rows

async def main():
    store = await open_store(sys.argv[1])
    first = int(sys.argv[2])
    print("open", flush=True)
    for batch in range(first, first + 100000):
        ids = [f"{batch}-{number}" for number in range(200)]
        edges = [(one, other, float(batch)) for one, other in zip(ids, ids[::-1])]
        if batch % 5 == 4:
            async with store.replace() as replacement:
                await replacement.add_nodes(node_rows(ids))
                await replacement.add_edges(edge_rows(edges))
                await replacement.commit()
            print("replaced", batch, flush=True)
        else:
            await store.upsert_nodes(node_rows(ids))
            print("nodes", batch, flush=True)
            await store.upsert_edges(edge_rows(edges))
            print("edges", batch, flush=True)

asyncio.run(main())
"""

KILLS = 14


def write_and_kill(url: str, draw: random.Random, first: int) -> list[tuple[str, int]]:
    """Kill a writing process at a random moment; return the writes that it acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITE_FOR_EVER, url, str(first)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        lines = [writer.stdout.readline() for _ in range(draw.randrange(12))]
        time.sleep(draw.uniform(0, 0.03))  # to stop it at an arbitrary point
        writer.send_signal(signal.SIGKILL)
        lines += [line for line in writer.stdout if line.endswith("\n")]
    return [(line.split()[0], int(line.split()[1])) for line in lines]


async def test_a_kill_at_any_moment_keeps_acknowledged_writes_and_leaves_no_half_batch(tmp_path: Path) -> None:
    draw = random.Random(5)
    url = f"sqlite:///{tmp_path / 'graph.db'}"
    present: dict[str, set[int]] = {"nodes": set(), "edges": set()}
    first = heard = 0
    for _ in range(KILLS):
        acknowledged = await asyncio.to_thread(write_and_kill, url, draw, first)
        for kind, batch in acknowledged:
            if kind == "replaced":
                present = {"nodes": {batch}, "edges": {batch}}
            else:
                present[kind].add(batch)
        heard += len(acknowledged)
        present = await check_whole(url, present)
        first = max([first, *present["nodes"], *(batch for _, batch in acknowledged)]) + 1
    assert heard > 3 * KILLS


async def check_whole(url: str, acknowledged: dict[str, set[int]]) -> dict[str, set[int]]:
    """Check that the store has all acknowledged writes and at most one more; return its content."""
    store = await open_store(url)
    nodes, edges = await contents(store)
    await store.close()
    found = {
        "nodes": {int(node.partition("-")[0]) for node in nodes},
        "edges": {int(source.partition("-")[0]) for source, _ in edges},
    }
    assert set(nodes) == {f"{batch}-{number}" for batch in found["nodes"] for number in range(200)}
    assert edges == {
        (f"{batch}-{number}", f"{batch}-{199 - number}"): float(batch)
        for batch in found["edges"]
        for number in range(200)
    }
    if found["nodes"] == found["edges"] and len(found["nodes"]) == 1 and max(found["nodes"]) % 5 == 4:
        assert max(found["nodes"]) >= max(acknowledged["nodes"], default=-1)  # a replacement
        return found
    further = [(kind, batch) for kind in found for batch in found[kind] ^ acknowledged[kind]]
    assert len(further) <= 1
    assert all(batch in found[kind] for kind, batch in further)
    return found


async def test_the_remains_of_a_killed_replacement_are_dropped(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'graph.db'}"
    store = await open_store(url)
    await fill(store, ["a"], [])
    with sqlite3.connect(tmp_path / "graph.db") as connection:
        connection.executescript(
            "CREATE TABLE new_node (id TEXT); CREATE TABLE stage (x TEXT); CREATE TABLE new_edge (x TEXT)"
        )
    connection.close()
    await fill(store, ["b", "c"], [("b", "c", 1.0)])
    assert await contents(store) == ({"b": ("", ""), "c": ("", "")}, {("b", "c"): 1.0})
    await fill(store, ["d"], [])  # the two index names alternate
    await fill(store, ["e"], [])
    assert set((await contents(store))[0]) == {"e"}
    await store.close()


@pytest.mark.parametrize("path", ["", "/", "//host/graph.db", "/:memory:"])
async def test_a_url_must_name_a_file(path: str) -> None:
    with pytest.raises(InvalidRequest, match=r"expected sqlite:///graph\.db"):
        await open_store(f"sqlite:{path}" if path.startswith("//") else f"sqlite://{path}")


async def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="unable to open database file"):
        await open_store(f"sqlite:///{tmp_path}/none/graph.db")
    with pytest.raises(StoreUnavailable, match="does not exist"):
        await open_store(f"sqlite:///{tmp_path}/graph.db?create=false")
    (tmp_path / "text.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreRefused, match="not a database"):
        await open_store(f"sqlite:///{tmp_path}/text.db")
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    connection.close()
    with pytest.raises(InvalidGraph, match="another database"):
        await open_store(f"sqlite:///{tmp_path}/other.db")


async def test_a_newer_schema_is_refused_and_unchanged(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'graph.db'}"
    store = await open_store(url)
    await fill(store, ["a"], [])
    await store.close()
    with sqlite3.connect(tmp_path / "graph.db") as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    connection.close()
    with pytest.raises(InvalidGraph, match="newer planmesh"):
        await open_store(url)


async def test_a_file_of_the_schema_without_a_position_is_brought_up_to_date(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'graph.db'}"
    async with opened(url) as store:
        await fill(store, ["a", "b"], [("a", "b", 1.0)])
        revision = await store.revision()
    with contextlib.closing(sqlite3.connect(tmp_path / "graph.db")) as connection:
        connection.executescript("ALTER TABLE graph DROP COLUMN position; PRAGMA user_version = 1")
    for _ in range(2):
        async with opened(url) as store:
            assert await store.revision() == revision
            assert await state_of(store) == ({"a": ("", ""), "b": ("", "")}, {("a", "b"): 1.0}, 0)
    async with opened(url) as store:
        await store.apply_changes(changes(2, deleted=["b"]))
        assert await state_of(store) == ({"a": ("", "")}, {}, 2)


async def test_a_damaged_file_is_an_error_of_reading(tmp_path: Path) -> None:
    file = tmp_path / "graph.db"
    store = await open_store(f"sqlite:///{file}")
    await fill(store, [f"n{number}" for number in range(5_000)], [])
    await store.close()
    content = bytearray(file.read_bytes())
    for page in range(4_096 * 8, len(content), 4_096):
        content[page : page + 64] = bytes(64)
    file.write_bytes(content)
    store = await open_store(f"sqlite:///{file}")
    with pytest.raises(StoreRefused, match="malformed"):
        async with store.read() as reading:
            await read_all(reading)
    await store.close()


async def test_a_writer_waits_for_another_process_and_then_reports_it(tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/graph.db?connect_timeout_s=0.2")
    await store.upsert_nodes(node_rows(["a"]))
    other = sqlite3.connect(tmp_path / "graph.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Conflict, match="another process writes"):
        await store.upsert_nodes(node_rows(["b"]))
    assert set((await contents(store))[0]) == {"a"}  # readers do not wait
    other.execute("ROLLBACK")
    other.close()
    await store.upsert_nodes(node_rows(["b"]))
    await store.close()


async def long_chain(tmp_path: Path, options: str) -> GraphStore:
    store = await open_store(f"sqlite:///{tmp_path}/graph.db?{options}")
    ids = [f"n{number}" for number in range(30_000)]
    await fill(store, ids, [(one, other, 1.0) for one, other in itertools.pairwise(ids)])
    return store


async def test_a_search_that_takes_too_long_is_interrupted(tmp_path: Path) -> None:
    store = await long_chain(tmp_path, "timeout_s=0.02")
    with pytest.raises(DeadlineExceeded):
        await store.shortest_path("n0", "n29999")
    assert (await store.get_node("n1")).id == "n1"
    await store.close()


async def test_a_cancelled_query_leaves_the_store_usable(tmp_path: Path) -> None:
    store = await long_chain(tmp_path, "timeout_s=30")
    asking = asyncio.create_task(store.shortest_path("n0", "n29999"))
    await asyncio.sleep(0)  # let the query reach the store's thread
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (await store.shortest_path("n0", "n29999")).cost == 29_999
    await store.upsert_edges(edge_rows([("n0", "n29999", 0.5)]))
    assert (await store.shortest_path("n0", "n29999")).cost == 0.5
    await store.close()


async def test_the_time_is_checked_between_the_edges_of_one_node(tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/graph.db")
    leaves = [f"l{number}" for number in range(2 * search.LOOKS_PER_CLOCK)]
    await fill(store, ["a", "hub", "z", *leaves], [("a", "hub", 1.0), *(("hub", leaf, 1.0) for leaf in leaves)])
    await store.upsert_edges(edge_rows([("l0", "z", 9.0), ("l1", "z", 9.0)]))
    await store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "graph.db")) as connection:
        assert search.shortest_path(connection, "a", "z", 60.0).cost == 11.0
        with pytest.raises(DeadlineExceeded, match="within -1 s"):
            search.shortest_path(connection, "a", "z", -1.0)


@pytest.mark.parametrize("cost", [-1.0, 1e308, math.inf])
async def test_an_invalid_cost_of_another_client_is_an_error(tmp_path: Path, cost: float) -> None:
    async with opened(f"sqlite:///{tmp_path}/graph.db") as store:
        await fill(store, ["a", "b", "c"], [("a", "b", 1.0), ("b", "c", 1.0), ("a", "c", 5.0)])
        with contextlib.closing(sqlite3.connect(tmp_path / "graph.db")) as connection, connection:
            connection.execute("UPDATE edge SET cost = ? WHERE source = 'b'", (cost,))
        with pytest.raises(InvalidGraph, match="expected a cost from 0"):
            await store.shortest_path("a", "c")
