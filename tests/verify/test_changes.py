"""Checks of the log of changes and the changed state: what updates write passes, and each damage is named."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from planmesh.errors import SnapshotError
from planmesh.internal.v1 import partition_pb2
from planmesh.v1 import graph_pb2
from planmesh.verify.report import RESTORE_CATALOG
from planmesh.versions.change_log import record_checksum
from planmesh.versions.embedded import CATALOG_NAME
from tests.verify.changed_graph import (
    changes_outcome,
    damage,
    edge,
    node,
    places_of,
    random_batches,
    update,
    without_edge,
    without_node,
)
from tests.verify.stored_graph import StoredGraph

FLIPPED = "UPDATE change SET {0} = ? WHERE graph = 'g' AND version = ?"


def flip(stored: StoredGraph, column: str, version: int) -> None:
    """Change the last byte of a column of a record."""
    with closing(sqlite3.connect(stored.data / "store" / CATALOG_NAME)) as catalog:
        row = catalog.execute(f"SELECT {column} FROM change WHERE version = ?", (version,)).fetchone()
    raw = bytearray(row[0])
    raw[-1] ^= 1
    damage(stored, FLIPPED.format(column), bytes(raw), version)


@pytest.fixture
async def changed(stored: StoredGraph) -> StoredGraph:
    """A graph with a few updates: versions 2 to 6."""
    batches = [
        [node("x", state="down", attributes={"a": "b"}), edge("x", "n000", cost=2.0)],
        [edge("n001", "x", cost=3.5, attributes={"kind": "road"})],
        [edge("x", "n000", cost_factor=1.5)],
        [without_node("n005"), node("n005")],
        [without_edge("x", "n000")],
    ]
    assert await update(stored, batches) == len(batches)
    return stored


async def test_a_graph_without_changes_has_no_findings(stored: StoredGraph) -> None:
    outcome = changes_outcome(stored)
    assert (outcome.findings, outcome.skipped) == ([], [])
    assert outcome.tallies["changes"].checked == 1


@pytest.mark.parametrize("seed", range(4))
async def test_random_updates_have_no_findings(stored: StoredGraph, seed: int) -> None:
    applied = await update(stored, random_batches(150, seed))
    assert applied > 50
    outcome = changes_outcome(stored)
    assert (outcome.findings, outcome.skipped) == ([], [])
    assert outcome.tallies["changes"].checked > applied


async def test_updates_are_checked_while_the_store_is_open(changed: StoredGraph) -> None:
    with closing(sqlite3.connect(changed.data / "store" / CATALOG_NAME)) as catalog:
        catalog.execute("UPDATE graph SET last_version = last_version")
        catalog.commit()
        assert (changed.data / "store" / f"{CATALOG_NAME}-wal").exists()
        assert changes_outcome(changed).ok


@pytest.mark.parametrize("column", ["payload", "checksum", "previous"])
async def test_a_changed_byte_of_a_record_is_named(changed: StoredGraph, column: str) -> None:
    flip(changed, column, 4)
    outcome = changes_outcome(changed)
    assert ("record", "the record of version 4", ()) in places_of(outcome)
    assert all(finding.file == CATALOG_NAME for finding in outcome.findings)
    assert outcome.skipped == ["the changed state: the log that leads to it has findings"]


@pytest.mark.parametrize(("version", "check"), [(2, "record"), (4, "record"), (6, "log end")])
async def test_a_deleted_record_is_named(changed: StoredGraph, version: int, check: str) -> None:
    damage(changed, "DELETE FROM change WHERE version = ?", version)
    assert (check, f"the record of version {version}", ()) in places_of(changes_outcome(changed))


async def test_a_log_without_records_must_not_have_had_any(changed: StoredGraph) -> None:
    damage(changed, "DELETE FROM change WHERE graph = 'g'")
    assert ("log end", "the record of version 2", ()) in places_of(changes_outcome(changed))


async def test_a_lost_end_of_the_log_is_found(changed: StoredGraph) -> None:
    damage(changed, "DELETE FROM log_end")
    assert ("log end", "the record of version 6", ()) in places_of(changes_outcome(changed))


@pytest.mark.parametrize(
    ("statement", "check", "nodes"),
    [
        ("UPDATE edge_state SET cost = 3.25 WHERE source = 'n001' AND target = 'x'", "edge state", ("n001", "x")),
        ("UPDATE edge_state SET cost = NULL WHERE source = 'n001' AND target = 'x'", "edge state", ("n001", "x")),
        ("UPDATE edge_state SET loaded_cost = 1 WHERE source = 'x'", "edge state", ("x", "n000")),
        ("UPDATE edge_state SET cost = -1 WHERE source = 'x'", "edge state", ("x", "n000")),
        ("UPDATE edge_state SET attributes = '{' WHERE source = 'n001'", "edge state", ("n001", "x")),
        ("UPDATE edge_state SET attributes = '{}' WHERE source = 'n001'", "edge state", ("n001", "x")),
        ("DELETE FROM edge_state WHERE source = 'n001' AND target = 'x'", "edge state", ("n001", "x")),
        ("UPDATE node_state SET state = 'dowm' WHERE id = 'x'", "node state", ("x",)),
        ("UPDATE node_state SET present = 0 WHERE id = 'x'", "node state", ("x",)),
        ("UPDATE node_state SET present = 2 WHERE id = 'x'", "node state", ("x",)),
        ("UPDATE node_state SET domain = 'd9' WHERE id = 'n005'", "node state", ("n005",)),
        ("UPDATE node_state SET id = CAST(X'FF' AS TEXT) WHERE id = 'x'", "node state", ("x",)),
        ("INSERT INTO node_state VALUES ('g', 'n007', 1, '', '', 'down', '{}')", "node state", ("n007",)),
        ("INSERT INTO edge_state VALUES ('g', 'n007', 'gone', 1.0, 1.0, '{}')", "edge state", ("n007", "gone")),
    ],
)
async def test_a_changed_row_of_the_state_is_named(
    changed: StoredGraph, statement: str, check: str, nodes: tuple[str, ...]
) -> None:
    damage(changed, statement)
    assert (check, nodes) in {(finding.check, finding.nodes) for finding in changes_outcome(changed).findings}


def replace_the_last(stored: StoredGraph, *changes: graph_pb2.Change) -> None:
    """Replace the changes of version 6, with a whole chain, so that only what the payload says can show the fault."""
    payload = partition_pb2.ChangeBatch(version=6, changes=changes).SerializeToString()
    with closing(sqlite3.connect(stored.data / "store" / CATALOG_NAME)) as catalog:
        previous = catalog.execute("SELECT previous FROM change WHERE version = 6").fetchone()[0]
    checksum = record_checksum(previous, 6, payload)
    damage(stored, "UPDATE change SET payload = ?, checksum = ? WHERE version = 6", payload, checksum)
    damage(stored, "UPDATE log_end SET checksum = ?", checksum)


@pytest.mark.parametrize(
    "changes",
    [
        [],
        [graph_pb2.Change()],
        [node("")],
        [node("x", state="s" * 65)],
        [without_node("a\n")],
        [edge("x", "n000", cost=-1.0)],
        [edge("x", "n000", cost=float("nan"))],
        [edge("x", "n000", cost_factor=2.0)],
        [edge("x", "x", cost=2.0)],
        [without_edge("x", "")],
    ],
)
async def test_records_that_break_the_rules_are_named(changed: StoredGraph, changes: list[graph_pb2.Change]) -> None:
    replace_the_last(changed, *changes)
    assert places_of(changes_outcome(changed)) == [("payload", "the record of version 6", ())]


@pytest.mark.parametrize(
    "change",
    [
        without_node("nowhere"),
        edge("x", "nowhere", cost=1.0),
        edge("n000", "n119", attributes={"a": "b"}),
        without_edge("n000", "n119"),
    ],
)
async def test_a_change_of_what_does_not_exist_is_named(changed: StoredGraph, change: graph_pb2.Change) -> None:
    replace_the_last(changed, change)
    assert ("replay", "the record of version 6", ()) in places_of(changes_outcome(changed))


async def test_a_log_whose_base_has_no_rows_is_named(changed: StoredGraph) -> None:
    (changed.rows / "edges.parquet").unlink()
    outcome = changes_outcome(changed)
    assert [(finding.check, finding.file) for finding in outcome.findings] == [("rows of the base", "rows/g/1")]
    assert outcome.skipped == ["the changed state: the rows of its base cannot be read"]


async def test_older_rows_are_checked_for_their_form_only(changed: StoredGraph) -> None:
    """As after the records that the base includes were forgotten: their values are in no record."""
    with closing(sqlite3.connect(changed.data / "store" / CATALOG_NAME)) as catalog, catalog:
        catalog.execute("UPDATE graph SET last_version = 6")
        catalog.execute("UPDATE version SET version = 6")
        catalog.execute("DELETE FROM change")
    (changed.rows).rename(changed.rows.with_name("6"))
    outcome = changes_outcome(changed)
    assert outcome.findings == []
    damage(changed, "UPDATE edge_state SET loaded_cost = -1 WHERE source = 'x'")
    assert [finding.nodes for finding in changes_outcome(changed).findings] == [("x", "n000")]


async def test_a_damaged_page_of_the_catalog_names_the_file(changed: StoredGraph) -> None:
    catalog = changed.data / "store" / CATALOG_NAME
    with closing(sqlite3.connect(catalog)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'edge_state'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    raw = bytearray(catalog.read_bytes())
    raw[(page - 1) * size] ^= 0x55  # the kind of the page
    catalog.write_bytes(raw)
    outcome = changes_outcome(changed)
    assert {finding.check for finding in outcome.findings} == {"integrity"}
    assert {finding.file for finding in outcome.findings} == {CATALOG_NAME}
    assert {finding.advice for finding in outcome.findings} == {RESTORE_CATALOG}


async def test_a_damaged_header_of_the_catalog_names_the_file(changed: StoredGraph) -> None:
    catalog = changed.data / "store" / CATALOG_NAME
    raw = bytearray(catalog.read_bytes())
    raw[100] ^= 0x55  # the page of the schema
    catalog.write_bytes(raw)
    with pytest.raises(SnapshotError, match=CATALOG_NAME):
        changes_outcome(changed)
