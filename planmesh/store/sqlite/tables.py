"""The tables of an embedded store, and all statements on them.

`node` and `edge` are the graph. `new_node`, `stage` and `new_edge` exist while a replacement is written.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from planmesh.errors import InvalidGraph, NodeUnknown
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.store.protocol import StoreChanges

SCHEMA: Final = 2
"""Version of the schema, kept in SQLite's user_version; it grows when an older planmesh would misread the tables."""

APPLICATION_ID: Final = 0x706C6D73
"""SQLite's application_id of our files ("plms"), by which a file of another program is recognised."""

_TABLES: Final = f"""
CREATE TABLE graph (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    identity TEXT NOT NULL,
    revision INTEGER NOT NULL,
    position INTEGER NOT NULL
) STRICT;
CREATE TABLE node (
    id TEXT PRIMARY KEY,
    domain TEXT NOT NULL,
    region TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE edge (
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    cost REAL NOT NULL,
    PRIMARY KEY (source, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX edge_in_a ON edge (target);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA};
"""

_ADD_POSITION: Final = "ALTER TABLE graph ADD COLUMN position INTEGER NOT NULL DEFAULT 0"
"""Makes schema 2 of schema 1, in which no batch of changes was applied."""

_NEW_TABLES: Final = """
CREATE TABLE new_node (
    id TEXT PRIMARY KEY,
    domain TEXT NOT NULL,
    region TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE stage (
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    cost REAL NOT NULL
) STRICT;
"""

_DROP_NEW: Final = "DROP TABLE IF EXISTS new_node; DROP TABLE IF EXISTS stage; DROP TABLE IF EXISTS new_edge;"

_NEW_EDGE: Final = """
CREATE TABLE new_edge (
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    cost REAL NOT NULL,
    PRIMARY KEY (source, target)
) STRICT, WITHOUT ROWID
"""

_NEW_INDEX: Final = {
    "edge_in_a": "CREATE INDEX edge_in_b ON new_edge (target)",
    "edge_in_b": "CREATE INDEX edge_in_a ON new_edge (target)",
}
"""Keyed by the present index's name: an index keeps its name when its table is renamed, so two names alternate."""

_SWAP: Final = (
    "DROP TABLE node",
    "DROP TABLE edge",
    "ALTER TABLE new_node RENAME TO node",
    "ALTER TABLE new_edge RENAME TO edge",
)

_UPSERT_NODE: Final = (
    "INSERT INTO node VALUES (?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET domain = excluded.domain, region = excluded.region"
)
_UPSERT_NEW_NODE: Final = (
    "INSERT INTO new_node VALUES (?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET domain = excluded.domain, region = excluded.region"
)
_UPSERT_EDGE: Final = (
    "INSERT INTO edge VALUES (?, ?, ?) ON CONFLICT (source, target) DO UPDATE SET cost = excluded.cost"
)


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block as one transaction, all or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def create(connection: sqlite3.Connection) -> None:
    """Create the tables in an empty file, or bring those of an older planmesh up to date.

    Raises InvalidGraph for another program's file, or a newer planmesh's.
    """
    with writing(connection):
        schema = int(_one(connection, "PRAGMA user_version"))
        application = int(_one(connection, "PRAGMA application_id"))
        if int(_one(connection, "SELECT count(*) FROM sqlite_master")) == 0:
            for statement in _TABLES.split(";\n"):
                if statement.strip():
                    connection.execute(statement)
            connection.execute("INSERT INTO graph VALUES (1, ?, 1, 0)", (secrets.token_hex(8),))
        elif application != APPLICATION_ID:
            raise InvalidGraph("expected a graph of planmesh or a file that does not exist yet, got another database")
        elif schema > SCHEMA:
            raise InvalidGraph(f"expected at most schema {SCHEMA}, found {schema}: written by a newer planmesh")
        elif schema < SCHEMA:
            connection.execute(_ADD_POSITION)
            connection.execute(f"PRAGMA user_version = {SCHEMA}")


def revision(connection: sqlite3.Connection) -> str:
    """Return the revision of the graph: the file's identity and a number."""
    identity, number = connection.execute("SELECT identity, revision FROM graph").fetchone()
    return f"{identity}-{number}"


def counts(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the numbers of nodes and edges."""
    return int(_one(connection, "SELECT count(*) FROM node")), int(_one(connection, "SELECT count(*) FROM edge"))


def position(connection: sqlite3.Connection) -> int:
    """Return the version of the last batch of changes that was applied; see GraphStore."""
    return int(_one(connection, "SELECT position FROM graph"))


def upsert_nodes(connection: sqlite3.Connection, rows: NodeRows) -> None:
    """Add or change nodes in one transaction."""
    with writing(connection):
        _put_nodes(connection, rows)
        _move_on(connection)


def upsert_edges(connection: sqlite3.Connection, rows: EdgeRows) -> None:
    """Add or change edges in one transaction. Raises NodeUnknown for an end that does not exist."""
    with writing(connection):
        _put_edges(connection, rows)
        _move_on(connection)


def delete_nodes(connection: sqlite3.Connection, ids: Iterable[str]) -> None:
    """Delete nodes and their edges in one transaction; unknown ids are ignored."""
    with writing(connection):
        _remove_nodes(connection, ids)
        _move_on(connection)


def delete_edges(connection: sqlite3.Connection, pairs: Iterable[tuple[str, str]]) -> None:
    """Delete edges in one transaction; unknown pairs are ignored."""
    with writing(connection):
        _remove_edges(connection, pairs)
        _move_on(connection)


def apply_changes(connection: sqlite3.Connection, changes: StoreChanges) -> None:
    """Apply a batch of changes and record its position in one transaction; see GraphStore."""
    with writing(connection):
        if changes.version <= position(connection):
            return
        _remove_nodes(connection, changes.removed_nodes())
        _put_nodes(connection, changes.written_nodes())
        _remove_edges(connection, changes.deleted_edges)
        _put_edges(connection, changes.upserted_edges)
        _move_to(connection, changes.version)


def has_node(connection: sqlite3.Connection, node: str) -> bool:
    """Return whether a node has that id."""
    return connection.execute("SELECT 1 FROM node WHERE id = ?", (node,)).fetchone() is not None


def node(connection: sqlite3.Connection, wanted: str) -> tuple[str, str, str] | None:
    """Return the id, domain and region of a node, None when it does not exist."""
    found: tuple[str, str, str] | None = connection.execute("SELECT * FROM node WHERE id = ?", (wanted,)).fetchone()
    return found


def begin_replacement(connection: sqlite3.Connection) -> None:
    """Create the tables for a replacement; drop those that a killed one left."""
    with writing(connection):
        drop_replacement(connection)
        for statement in _NEW_TABLES.split(";\n"):
            if statement.strip():
                connection.execute(statement)


def drop_replacement(connection: sqlite3.Connection) -> None:
    """Drop the tables of a replacement, if they exist."""
    for statement in _DROP_NEW.split(";"):
        if statement.strip():
            connection.execute(statement)


def stage_nodes(connection: sqlite3.Connection, rows: NodeRows) -> None:
    """Add nodes to the replacement; of several rows for one node, the last counts."""
    with writing(connection):
        connection.executemany(_UPSERT_NEW_NODE, zip(rows.ids, rows.domains, rows.regions, strict=True))


def stage_edges(connection: sqlite3.Connection, rows: EdgeRows) -> None:
    """Append edges to the replacement; the commit sorts them once."""
    with writing(connection):
        connection.executemany(
            "INSERT INTO stage VALUES (?, ?, ?)", zip(rows.sources, rows.targets, rows.costs.tolist(), strict=True)
        )


def commit_replacement(connection: sqlite3.Connection, new_position: int) -> str:
    """Sort the edges, keep the cheapest of each pair, check their ends, and put the new tables in place.

    The position becomes `new_position` in the same transaction.
    """
    with writing(connection):
        connection.execute(_NEW_EDGE)
        connection.execute("INSERT INTO new_edge SELECT source, target, min(cost) FROM stage GROUP BY source, target")
        connection.execute("DROP TABLE stage")
        present = _one(
            connection, "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'edge' AND sql IS NOT NULL"
        )
        connection.execute(_NEW_INDEX[present])
        _check_ends(connection)
        for statement in _SWAP:
            connection.execute(statement)
        _move_to(connection, new_position)
    return revision(connection)


def _put_nodes(connection: sqlite3.Connection, rows: NodeRows) -> None:
    connection.executemany(_UPSERT_NODE, zip(rows.ids, rows.domains, rows.regions, strict=True))


def _put_edges(connection: sqlite3.Connection, rows: EdgeRows) -> None:
    for end in dict.fromkeys([*rows.sources, *rows.targets]):
        if not has_node(connection, end):
            raise NodeUnknown(end)
    connection.executemany(_UPSERT_EDGE, zip(rows.sources, rows.targets, rows.costs.tolist(), strict=True))


def _remove_nodes(connection: sqlite3.Connection, ids: Iterable[str]) -> None:
    keys = [(one,) for one in ids]
    connection.executemany("DELETE FROM edge WHERE source = ?", keys)
    connection.executemany("DELETE FROM edge WHERE target = ?", keys)
    connection.executemany("DELETE FROM node WHERE id = ?", keys)


def _remove_edges(connection: sqlite3.Connection, pairs: Iterable[tuple[str, str]]) -> None:
    connection.executemany("DELETE FROM edge WHERE source = ? AND target = ?", pairs)


def _check_ends(connection: sqlite3.Connection) -> None:
    for field, statement in (
        ("source", "SELECT DISTINCT source FROM new_edge WHERE source NOT IN (SELECT id FROM new_node) LIMIT 1"),
        ("target", "SELECT DISTINCT target FROM new_edge WHERE target NOT IN (SELECT id FROM new_node) LIMIT 1"),
    ):
        found = connection.execute(statement).fetchone()
        if found is not None:
            raise InvalidGraph(f"expected the id of a node; no node has {found[0]!r}", field=field)


def _move_on(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE graph SET revision = revision + 1")


def _move_to(connection: sqlite3.Connection, new_position: int) -> None:
    connection.execute("UPDATE graph SET revision = revision + 1, position = ?", (new_position,))


def _one(connection: sqlite3.Connection, statement: str) -> str:
    return str(connection.execute(statement).fetchone()[0])
