"""The log of changes: whole or not at all, in order, and every kind of damage is named."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from planmesh.errors import Conflict, SnapshotDamaged, SnapshotError
from planmesh.snapshot.array_file import FileFacts
from planmesh.versions import change_log
from planmesh.versions.catalog import Catalog, describe
from planmesh.versions.change_log import ChangeTransaction, EdgeState, KnownKey, NodeState
from planmesh.versions.embedded import EmbeddedVersions
from planmesh.versions.row_files import RowFacts

FACTS = RowFacts(FileFacts(10, "a" * 32), FileFacts(20, "b" * 32))
Work = Callable[[ChangeTransaction], int]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.sqlite"


@pytest.fixture
def catalog(path: Path) -> Iterator[Catalog]:
    opened = Catalog(path)
    opened.add(describe("g", 1, 3, 2, ""), FACTS)
    yield opened
    opened.close()


def append(count: int = 1) -> Work:
    return lambda changed: changed.append(count, lambda version: f"payload {version}".encode())


def put_key(key: str, version: int) -> Work:
    def put(changed: ChangeTransaction) -> int:
        changed.put_key(key, KnownKey(b"d", version, 1))
        return version

    return put


def versions(catalog: Catalog, after: int = 1, count_max: int = 100) -> list[int]:
    return [record.version for record in catalog.log("g", after, count_max)]


def damage(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute(statement, values).rowcount > 0
        connection.commit()


def test_records_are_read_in_order_and_in_parts(catalog: Catalog) -> None:
    assert catalog.change("g", [append() for _ in range(5)]) == [2, 3, 4, 5, 6]
    assert versions(catalog) == [2, 3, 4, 5, 6]
    assert versions(catalog, after=3, count_max=2) == [4, 5]
    assert catalog.log("g", 5, 10)[0].payload == b"payload 6"
    assert catalog.last_version("g") == 6
    assert catalog.log("h", 0, 10) == []


def test_refused_work_has_no_effect_and_the_rest_is_kept(catalog: Catalog) -> None:
    def refused(changed: ChangeTransaction) -> int:
        changed.put_node("x", NodeState(present=True))
        changed.append(1, lambda _: b"never")
        raise Conflict("no")

    found = catalog.change("g", [append(), refused, append()])
    assert (found[0], found[2]) == (2, 3)
    assert isinstance(found[1], Conflict)
    assert versions(catalog) == [2, 3]
    assert catalog.change("g", [lambda changed: changed.node("x")]) == [None]


def test_a_defect_undoes_the_whole_transaction(catalog: Catalog) -> None:
    def broken(changed: ChangeTransaction) -> int:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        catalog.change("g", [append(), broken])
    assert versions(catalog) == []
    assert catalog.last_version("g") == 1


def test_states_are_kept_by_graph(catalog: Catalog) -> None:
    node = NodeState(True, "d", "r", "down", {"k": "v"})

    def put(changed: ChangeTransaction) -> int:
        changed.put_node("a", node)
        changed.put_edge("a", "b", EdgeState(2.5, 1.0, {"x": "y"}))
        changed.put_edge("c", "a", EdgeState(None, 4.0))
        return 0

    catalog.change("g", [put])
    assert catalog.change(
        "g", [lambda changed: (changed.node("a"), sorted(e[:2] for e in changed.edges("a")), changed.edge("b", "a"))]
    ) == [(node, [("a", "b"), ("c", "a")], None)]
    assert catalog.change("h", [lambda changed: (changed.node("a"), list(changed.edges()))]) == [(None, [])]


@pytest.mark.parametrize(
    ("statement", "values", "named"),
    [
        ("UPDATE change SET payload = ? WHERE version = 4", (b"other",), "version 4 failed its checksum"),
        ("UPDATE change SET checksum = ? WHERE version = 4", (b"other",), "version 4 failed its checksum"),
        ("DELETE FROM change WHERE version = 4", (), "version 5 does not follow"),
        ("DELETE FROM change WHERE version = 6", (), "version 6 is missing"),
        ("DELETE FROM change WHERE version = 2", (), "version 2 is missing"),
        ("DELETE FROM change", (), "version 2 is missing"),
        ("UPDATE change SET version = 9 WHERE version = 4", (), "version 5 does not follow"),
        ("UPDATE change SET previous = ? WHERE version = 3", (b"",), "version 3 does not follow"),
        ("UPDATE log_end SET checksum = ?", (b"other",), "version 7 is missing"),
    ],
)
def test_a_damaged_record_is_named(
    catalog: Catalog, path: Path, statement: str, values: tuple[object, ...], named: str
) -> None:
    catalog.change("g", [append() for _ in range(5)])
    damage(path, statement, *values)
    with pytest.raises(SnapshotDamaged, match=f"change log of graph 'g': the record of {named}"):
        catalog.log("g", 1, 100)


def test_a_load_forgets_the_changes_and_a_merge_keeps_them(catalog: Catalog) -> None:
    catalog.change("g", [append(), put_key("k", 2)])
    catalog.add(describe("g", 2, 3, 2, ""), FACTS, merges=True)
    catalog.change("g", [append()])
    assert versions(catalog, after=2) == [3]
    catalog.add(describe("g", 3, 3, 2, ""), FACTS, merges=True)
    assert catalog.last_version("g") == 3
    catalog.remove("g", 1)
    assert versions(catalog, after=2) == [3], "the oldest version that is kept needs it"
    assert catalog.change("g", [lambda changed: changed.known_key("k")]) == [KnownKey(b"d", 2, 1)]
    catalog.add(describe("g", 4, 3, 2, ""), FACTS)
    assert catalog.log("g", 0, 100) == []
    assert catalog.change("g", [lambda changed: changed.known_key("k")]) == [None]
    assert catalog.change("g", [append()]) == [5]
    catalog.remove("g")
    assert catalog.log("g", 0, 100) == []


def test_keys_are_kept_up_to_their_bounds(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    def known() -> list[str]:
        keys = ("a", "b", "c", "d")
        return [key for key in keys if catalog.change("g", [lambda c, k=key: c.known_key(k)])[0] is not None]  # type: ignore[misc]

    monkeypatch.setattr(change_log, "KEYS_MAX", 2)
    for number, key in enumerate(("a", "b", "c")):
        catalog.change("g", [put_key(key, number)])
    assert known() == ["b", "c"]
    monkeypatch.setattr(change_log, "KEY_AGE_S_MAX", -1.0)
    catalog.change("g", [put_key("d", 9)])
    assert known() == []


def test_a_catalog_of_the_first_schema_is_taken_over(path: Path) -> None:
    stored = describe("g", 3, 3, 2, "as it was")
    old = Catalog(path)
    old.add(stored, FACTS)
    old.close()
    with closing(sqlite3.connect(path)) as connection:
        for table in change_log.OF_ONE_GRAPH:
            connection.execute(f"DROP TABLE {table}")
        connection.execute("PRAGMA user_version = 1")
    opened = Catalog(path)
    assert opened.versions() == [stored]
    assert opened.change("g", [append()]) == [4]
    opened.close()


def test_a_full_or_read_only_disk_is_an_error(catalog: Catalog, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        catalog._connection.execute("PRAGMA busy_timeout = 1")
        with pytest.raises(SnapshotError, match="could not be committed"):
            catalog.change("g", [append()])
        other.execute("ROLLBACK")
    assert versions(catalog) == []


WRITER = """
import asyncio, sys
from pathlib import Path
from planmesh.versions.embedded import EmbeddedVersions
from planmesh.versions.change_log import NodeState

async def main():
    store = EmbeddedVersions(Path(sys.argv[1]))
    while True:
        def one(changed):
            version = changed.append(1, lambda version: str(version).encode())
            for number in range(5):
                changed.put_node(f"n{number}", NodeState(True, state=str(version)))
            return version
        for version in await store.change("g", [one, one]):
            print(version, flush=True)

asyncio.run(main())
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    async def prepare() -> None:
        store = EmbeddedVersions(tmp_path)
        async with store.write("g") as writer:
            await writer.commit(1, "")
        await store.close()

    async def read() -> tuple[list[int], set[str]]:
        store = EmbeddedVersions(tmp_path)
        records = await store.log("g", 1, 1_000_000)
        assert [record.payload for record in records] == [str(record.version).encode() for record in records]
        (states,) = await store.change("g", [lambda changed: {state.state for _, state in changed.nodes()}])
        assert isinstance(states, set)
        await store.close()
        return [record.version for record in records], states

    asyncio.run(prepare())
    acknowledged = 1
    for lines in (1, 2, 3, 7, 20, 41):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for _ in range(lines):
                acknowledged = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
        found, states = asyncio.run(read())
        assert found == list(range(2, len(found) + 2)), "no gap"
        assert found[-1] >= acknowledged
        assert states == {str(found[-1])}, "the state is that of the last record, not half of it"
