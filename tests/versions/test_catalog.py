"""The catalog keeps versions and the facts of their rows, and can be read without owning it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from planmesh.errors import SnapshotError, VersionGone
from planmesh.snapshot.array_file import FileFacts
from planmesh.versions.catalog import SCHEMA, Catalog, describe, read_versions
from planmesh.versions.protocol import StoredVersion
from planmesh.versions.row_files import RowFacts

FACTS = RowFacts(FileFacts(10, "a" * 32), FileFacts(20, "b" * 32))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.sqlite"


@pytest.fixture
def catalog(path: Path) -> Iterator[Catalog]:
    opened = Catalog(path)
    yield opened
    opened.close()


def version(graph: str, number: int) -> StoredVersion:
    return describe(graph, number, 3, 2, f"{graph} {number}")


def test_versions_are_listed_by_graph_and_number(catalog: Catalog) -> None:
    stored = [version("b", 2), version("a", 10), version("a", 9)]
    for one in stored:
        catalog.add(one, FACTS)
    assert catalog.versions() == [stored[2], stored[1], stored[0]]
    assert catalog.row_facts("a", 9) == FACTS
    with pytest.raises(VersionGone, match="version 8 of graph 'a' is not in the store"):
        catalog.row_facts("a", 8)


def test_the_last_version_of_a_graph_outlives_its_removal(catalog: Catalog) -> None:
    assert catalog.last_version("g") == 0
    for number in (1, 2, 3):
        catalog.add(version("g", number), FACTS)
    catalog.add(version("h", 7), FACTS)
    catalog.remove("g", 3)
    assert [(one.graph, one.version) for one in catalog.versions()] == [("g", 1), ("g", 2), ("h", 7)]
    catalog.remove("g")
    assert [(one.graph, one.version) for one in catalog.versions()] == [("h", 7)]
    assert (catalog.last_version("g"), catalog.last_version("h")) == (3, 7)


def test_a_version_cannot_be_committed_twice(catalog: Catalog) -> None:
    catalog.add(version("g", 1), FACTS)
    with pytest.raises(SnapshotError, match="could not be committed"):
        catalog.add(version("g", 1), FACTS)
    assert len(catalog.versions()) == 1
    catalog.check()


def test_a_catalog_is_read_while_another_process_has_it_open_and_after(catalog: Catalog, path: Path) -> None:
    stored = version("g", 1)
    catalog.add(stored, FACTS)
    assert path.with_name("catalog.sqlite-wal").exists()
    assert read_versions(path) == [(stored, FACTS)]
    catalog.close()
    assert not path.with_name("catalog.sqlite-wal").exists()
    assert read_versions(path) == [(stored, FACTS)]
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_an_unreadable_catalog_or_another_schema_is_refused(path: Path) -> None:
    with pytest.raises(SnapshotError, match="cannot be read"):
        read_versions(path)
    assert not path.exists()
    Catalog(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    for read in (read_versions, Catalog):
        with pytest.raises(SnapshotError, match=f"schema {SCHEMA}, found {SCHEMA + 1}"):
            read(path)
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(SnapshotError, match="cannot be read"):
        read_versions(path)
    with pytest.raises(SnapshotError, match="cannot be used"):
        Catalog(path)


def test_a_closed_catalog_does_not_answer(path: Path) -> None:
    catalog = Catalog(path)
    catalog.close()
    with pytest.raises(SnapshotError, match="does not answer"):
        catalog.check()
