"""The catalog of the embedded store: the committed versions, in SQLite with a write-ahead log and synced commits."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, TypeVar

from planmesh.errors import PlanmeshError, SnapshotError, VersionGone
from planmesh.snapshot.array_file import FileFacts
from planmesh.versions.change_log import (
    TABLES,
    ChangeRecord,
    ChangeTransaction,
    apply_together,
    forget_changes,
    forget_merged,
    read_log,
)
from planmesh.versions.protocol import StoredVersion
from planmesh.versions.row_files import RowFacts

T = TypeVar("T")

SCHEMA: Final = 2
"""Version of the tables, stored as SQLite's user_version. It is increased when an older planmesh would misread them."""

BUSY_TIMEOUT_S: Final = 5.0
"""Longest wait for a lock. A backup holds one for a moment; a longer wait means that another process writes, an error.
"""

_TABLES: Final = """
CREATE TABLE graph (
    name TEXT PRIMARY KEY,
    last_version INTEGER NOT NULL
) STRICT;
CREATE TABLE version (
    graph TEXT NOT NULL REFERENCES graph (name),
    version INTEGER NOT NULL,
    committed_unix_s REAL NOT NULL,
    nodes INTEGER NOT NULL,
    edges INTEGER NOT NULL,
    description TEXT NOT NULL,
    nodes_file_bytes INTEGER NOT NULL,
    nodes_file_checksum TEXT NOT NULL,
    edges_file_bytes INTEGER NOT NULL,
    edges_file_checksum TEXT NOT NULL,
    PRIMARY KEY (graph, version)
) STRICT;
"""

_TABLES_SINCE: Final = {1: _TABLES, 2: TABLES}
"""The tables that each schema added."""


class Catalog:
    """The open catalog of the process that owns the store. It is not thread-safe: the store uses one thread for it.

    Opening it creates missing tables, and raises SnapshotError when the database is unusable or too new.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise SnapshotError(f"{path}: the catalog cannot be used: {error}") from error

    def _prepare(self) -> None:
        with closing(self._connection.execute("PRAGMA user_version")) as rows:
            found = int(rows.fetchone()[0])
        if found > SCHEMA:
            raise SnapshotError(
                f"{self._path}: expected at most schema {SCHEMA}, found {found}: written by a newer planmesh; "
                "run that one, or name another folder by PLANMESH_DATA"
            )
        missing = "".join(_TABLES_SINCE[schema] for schema in range(found + 1, SCHEMA + 1))
        if missing:
            self._connection.executescript(f"BEGIN IMMEDIATE; {missing} PRAGMA user_version = {SCHEMA}; COMMIT;")

    def check(self) -> None:
        """Raise SnapshotError when the database does not answer."""
        try:
            self._connection.execute("SELECT count(*) FROM graph").fetchone()
        except sqlite3.Error as error:
            raise SnapshotError(f"{self._path.name}: the catalog does not answer: {error}") from error

    def versions(self) -> list[StoredVersion]:
        """Return every version, by graph and ascending version."""
        rows = self._connection.execute(
            "SELECT graph, version, committed_unix_s, nodes, edges, description FROM version ORDER BY graph, version"
        )
        return [StoredVersion(*row) for row in rows]

    def row_facts(self, graph: str, version: int) -> RowFacts:
        """Return sizes and checksums of a version's files. Raises VersionGone when it is not in the store."""
        found = self._connection.execute(
            "SELECT nodes_file_bytes, nodes_file_checksum, edges_file_bytes, edges_file_checksum"
            " FROM version WHERE graph = ? AND version = ?",
            (graph, version),
        ).fetchone()
        if found is None:
            raise VersionGone(f"version {version} of graph {graph!r} is not in the store")
        return RowFacts(FileFacts(found[0], found[1]), FileFacts(found[2], found[3]))

    def last_version(self, graph: str) -> int:
        """Return the greatest version that a graph ever had, 0 if it never had one."""
        row = self._connection.execute("SELECT last_version FROM graph WHERE name = ?", (graph,)).fetchone()
        return int(row[0]) if row else 0

    def change(self, graph: str, work: Sequence[Callable[[ChangeTransaction], T]]) -> list[T | PlanmeshError]:
        """Do several pieces of work on the changed state of a graph; see `apply_together`."""
        return apply_together(self._connection, graph, work)

    def log(self, graph: str, after: int, count_max: int) -> list[ChangeRecord]:
        """Return records of the log; see `read_log`."""
        return read_log(self._connection, graph, after, count_max)

    def add(self, stored: StoredVersion, facts: RowFacts, *, merges: bool = False) -> None:
        """Commit a version, synced to disk when this returns.

        It replaces the graph and its changes, unless it `merges` the changes up to its number. Raises SnapshotError
        when it cannot be committed.
        """
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.execute(
                    "INSERT INTO graph VALUES (?, ?)"
                    " ON CONFLICT (name) DO UPDATE SET last_version = max(last_version, excluded.last_version)",
                    (stored.graph, stored.version),
                )
                if not merges:
                    forget_changes(self._connection, stored.graph)
                self._connection.execute(
                    "INSERT INTO version VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        stored.graph,
                        stored.version,
                        stored.committed_unix_s,
                        stored.nodes,
                        stored.edges,
                        stored.description,
                        facts.nodes.bytes,
                        facts.nodes.checksum,
                        facts.edges.bytes,
                        facts.edges.checksum,
                    ),
                )
        except sqlite3.Error as error:
            raise SnapshotError(f"{self._path.name}: the version could not be committed: {error}") from error

    def remove(self, graph: str, version: int | None = None) -> None:
        """Remove one version, or all of a graph. The number of the graph's last version is kept.

        Raises SnapshotError when the database refuses it.
        """
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                if version is None:
                    self._connection.execute("DELETE FROM version WHERE graph = ?", (graph,))
                    forget_changes(self._connection, graph)
                else:
                    self._connection.execute("DELETE FROM version WHERE graph = ? AND version = ?", (graph, version))
                    forget_merged(self._connection, graph)
        except sqlite3.Error as error:
            raise SnapshotError(f"{self._path.name}: graph {graph!r} could not be removed: {error}") from error

    def close(self) -> None:
        """Close the database connection."""
        self._connection.close()


def read_versions(path: Path) -> list[tuple[StoredVersion, RowFacts]]:
    """Return every version and the facts of its rows. Another process may own the catalog meanwhile.

    Writes nothing, so the folder may be read-only. Raises SnapshotError when the catalog cannot be read.
    """
    # A write-ahead log means that a process has the database open, or was killed. SQLite then reads with its locks.
    # Without a log everything is in one file, and `immutable` prevents SQLite from creating the log's files.
    is_open = path.with_name(f"{path.name}-wal").exists()
    uri = f"{path.absolute().as_uri()}?mode=ro{'' if is_open else '&immutable=1'}"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S)) as connection:
            found = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if not 0 < found <= SCHEMA:
                raise SnapshotError(f"{path}: expected schema {SCHEMA}, found {found}: use the planmesh that wrote it")
            rows = connection.execute(
                "SELECT graph, version, committed_unix_s, nodes, edges, description, nodes_file_bytes,"
                " nodes_file_checksum, edges_file_bytes, edges_file_checksum FROM version ORDER BY graph, version"
            ).fetchall()
    except sqlite3.Error as error:
        raise SnapshotError(f"{path}: the catalog cannot be read: {error}") from error
    return [(StoredVersion(*row[:6]), RowFacts(FileFacts(row[6], row[7]), FileFacts(row[8], row[9]))) for row in rows]


def describe(graph: str, version: int, nodes: int, edges: int, description: str) -> StoredVersion:
    """Return the record of a version with the present time as its commit time."""
    return StoredVersion(
        graph=graph,
        version=version,
        committed_unix_s=time.time(),
        nodes=nodes,
        edges=edges,
        description=description,
    )
