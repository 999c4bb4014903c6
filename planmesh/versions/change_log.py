"""The log of changes of the embedded store, and the values that they have led to, in the tables of its catalog.

All changes of a batch, its record in the log and the graph's new version are one transaction, synced when it ends. A
record has a checksum over itself and the checksum of the record before it, so a changed, missing, repeated or reordered
record is found when the log is read.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import orjson

from planmesh.errors import PlanmeshError, SnapshotDamaged, SnapshotError

T = TypeVar("T")

CHECKSUM_BYTES: Final = 16

KEYS_MAX: Final = 100_000
"""Idempotency keys that are kept for a graph; the oldest are dropped."""

KEY_AGE_S_MAX: Final = 24 * 3_600.0
"""How long a key is kept: longer than any caller retries."""

TABLES: Final = """
CREATE TABLE change (
    graph TEXT NOT NULL,
    version INTEGER NOT NULL,
    committed_unix_s REAL NOT NULL,
    changes INTEGER NOT NULL,
    payload BLOB NOT NULL,
    previous BLOB NOT NULL,
    checksum BLOB NOT NULL,
    PRIMARY KEY (graph, version)
) STRICT;
CREATE TABLE log_end (
    graph TEXT PRIMARY KEY,
    checksum BLOB NOT NULL
) STRICT;
CREATE TABLE idempotency_key (
    graph TEXT NOT NULL,
    key TEXT NOT NULL,
    digest BLOB NOT NULL,
    version INTEGER NOT NULL,
    applied INTEGER NOT NULL,
    committed_unix_s REAL NOT NULL,
    PRIMARY KEY (graph, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_key_age ON idempotency_key (graph, committed_unix_s);
CREATE INDEX idempotency_key_version ON idempotency_key (graph, version);
CREATE TABLE node_state (
    graph TEXT NOT NULL,
    id TEXT NOT NULL,
    present INTEGER NOT NULL,
    domain TEXT NOT NULL,
    region TEXT NOT NULL,
    state TEXT NOT NULL,
    attributes TEXT NOT NULL,
    PRIMARY KEY (graph, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE edge_state (
    graph TEXT NOT NULL,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    cost REAL,
    loaded_cost REAL NOT NULL,
    attributes TEXT NOT NULL,
    PRIMARY KEY (graph, source, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX edge_state_in ON edge_state (graph, target);
"""

OF_ONE_GRAPH: Final = ("change", "log_end", "idempotency_key", "node_state", "edge_state")


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node that updates have touched since the last load. `state` "" is "up"."""

    present: bool
    domain: str = ""
    region: str = ""
    state: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EdgeState:
    """An edge that updates have touched since the last load. `cost` is None if it was deleted."""

    cost: float | None
    loaded_cost: float
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What a batch with an idempotency key did: the digest of its changes, its version, and their number."""

    digest: bytes
    version: int
    applied: int


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """A record of the log. `payload` is a text of its writer, which the store does not interpret."""

    version: int
    changes: int
    payload: bytes


class ChangeTransaction:
    """Reads and writes the changed state of one graph, inside a transaction of the catalog."""

    def __init__(self, connection: sqlite3.Connection, graph: str) -> None:
        self._connection = connection
        self._graph = graph

    @property
    def version(self) -> int:
        """The newest version of the graph."""
        row = self._one("SELECT last_version FROM graph WHERE name = ?")
        return int(row[0]) if row else 0

    def node(self, node: str) -> NodeState | None:
        """Return a node that was touched, None for another one."""
        row = self._one(
            "SELECT present, domain, region, state, attributes FROM node_state WHERE graph = ? AND id = ?", node
        )
        return NodeState(bool(row[0]), row[1], row[2], row[3], orjson.loads(row[4])) if row else None

    def edge(self, source: str, target: str) -> EdgeState | None:
        """Return an edge that was touched, None for another one."""
        row = self._one(
            "SELECT cost, loaded_cost, attributes FROM edge_state WHERE graph = ? AND source = ? AND target = ?",
            source,
            target,
        )
        return EdgeState(row[0], row[1], orjson.loads(row[2])) if row else None

    def nodes(self) -> Iterator[tuple[str, NodeState]]:
        """Yield all nodes that were touched."""
        for row in self._connection.execute(
            "SELECT id, present, domain, region, state, attributes FROM node_state WHERE graph = ?", (self._graph,)
        ):
            yield row[0], NodeState(bool(row[1]), row[2], row[3], row[4], orjson.loads(row[5]))

    def edges(self, at: str | None = None) -> Iterator[tuple[str, str, EdgeState]]:
        """Yield all edges that were touched, or those from and to one node."""
        columns = "SELECT source, target, cost, loaded_cost, attributes FROM edge_state WHERE graph = ?"
        asked: list[tuple[str, tuple[str, ...]]] = [(columns, (self._graph,))]
        if at is not None:
            asked = [(f"{columns} AND {end} = ?", (self._graph, at)) for end in ("source", "target")]
        for statement, values in asked:
            for row in self._connection.execute(statement, values).fetchall():
                yield row[0], row[1], EdgeState(row[2], row[3], orjson.loads(row[4]))

    def put_node(self, node: str, state: NodeState) -> None:
        """Set the state of a node."""
        self._connection.execute(
            "INSERT OR REPLACE INTO node_state VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                self._graph,
                node,
                int(state.present),
                state.domain,
                state.region,
                state.state,
                orjson.dumps(state.attributes).decode(),
            ),
        )

    def put_edge(self, source: str, target: str, state: EdgeState) -> None:
        """Set the state of an edge."""
        self._connection.execute(
            "INSERT OR REPLACE INTO edge_state VALUES (?, ?, ?, ?, ?, ?)",
            (self._graph, source, target, state.cost, state.loaded_cost, orjson.dumps(state.attributes).decode()),
        )

    def known_key(self, key: str) -> KnownKey | None:
        """Return what the batch with an idempotency key did, None for a new key."""
        row = self._one("SELECT digest, version, applied FROM idempotency_key WHERE graph = ? AND key = ?", key)
        return KnownKey(*row) if row else None

    def put_key(self, key: str, known: KnownKey) -> None:
        """Keep a key, and drop those that are too old or too many."""
        now_s = time.time()
        self._connection.execute(
            "INSERT INTO idempotency_key VALUES (?, ?, ?, ?, ?, ?)",
            (self._graph, key, known.digest, known.version, known.applied, now_s),
        )
        self._connection.execute(
            "DELETE FROM idempotency_key WHERE graph = ? AND committed_unix_s < ?", (self._graph, now_s - KEY_AGE_S_MAX)
        )
        self._connection.execute(
            "DELETE FROM idempotency_key WHERE graph = ?1 AND version <= (SELECT version FROM"
            " idempotency_key WHERE graph = ?1 ORDER BY version DESC LIMIT 1 OFFSET ?2)",
            (self._graph, KEYS_MAX),
        )

    def append(self, changes: int, encode: Callable[[int], bytes]) -> int:
        """Add a record of a number of changes; `encode` returns its payload for its version. Return the version."""
        version = self.version + 1
        payload = encode(version)
        row = self._one("SELECT checksum FROM log_end WHERE graph = ?")
        previous = row[0] if row else b""
        checksum = record_checksum(previous, version, payload)
        self._connection.execute(
            "INSERT INTO change VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self._graph, version, time.time(), changes, payload, previous, checksum),
        )
        self._connection.execute("INSERT OR REPLACE INTO log_end VALUES (?, ?)", (self._graph, checksum))
        self._connection.execute("UPDATE graph SET last_version = ? WHERE name = ?", (version, self._graph))
        return version

    def _one(self, statement: str, *values: Any) -> Any:
        return self._connection.execute(statement, (self._graph, *values)).fetchone()


def record_checksum(previous: bytes, version: int, payload: bytes) -> bytes:
    """Return the checksum of a record that follows one with the checksum `previous`."""
    digest = hashlib.blake2b(digest_size=CHECKSUM_BYTES)
    digest.update(previous)
    digest.update(version.to_bytes(8, "little"))
    digest.update(payload)
    return digest.digest()


def apply_together(
    connection: sqlite3.Connection, graph: str, work: Sequence[Callable[[ChangeTransaction], T]]
) -> list[T | PlanmeshError]:
    """Do several pieces of work in one transaction, each whole or not at all; return their results, or why they failed.

    Synced to disk when this returns. Raises SnapshotError when the database refuses it: then nothing was done.
    """
    results: list[T | PlanmeshError] = []
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for one in work:
                connection.execute("SAVEPOINT one")
                try:
                    results.append(one(ChangeTransaction(connection, graph)))
                    connection.execute("RELEASE one")
                except PlanmeshError as error:
                    connection.execute("ROLLBACK TO one")
                    connection.execute("RELEASE one")
                    results.append(error)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    except sqlite3.Error as error:
        raise SnapshotError(f"the changes of graph {graph!r} could not be committed: {error}") from error
    return results


def read_log(connection: sqlite3.Connection, graph: str, after: int, count_max: int) -> list[ChangeRecord]:
    """Return the next records after a version, in order, at most `count_max`.

    Raises SnapshotDamaged, which names the record, when one is not as it was written.
    """
    rows = connection.execute(
        "SELECT version, changes, payload, previous, checksum FROM change WHERE graph = ? AND version > ?"
        " ORDER BY version LIMIT ?",
        (graph, after, count_max),
    ).fetchall()
    records: list[ChangeRecord] = []
    expected = connection.execute(
        "SELECT checksum FROM change WHERE graph = ? AND version = ?", (graph, after)
    ).fetchone()
    for version, changes, payload, previous, checksum in rows:
        if expected is not None and previous != expected[0]:
            raise _damage(graph, version, "does not follow the record before it")
        if record_checksum(previous, version, payload) != checksum:
            raise _damage(graph, version, "failed its checksum")
        awaited = (records[-1].version if records else after) + 1
        if version != awaited:
            raise _damage(graph, awaited, "is missing")
        expected = (checksum,)
        records.append(ChangeRecord(version, changes, payload))
    if len(rows) < count_max:
        end = connection.execute(
            "SELECT checksum, last_version FROM log_end JOIN graph ON graph.name = log_end.graph WHERE name = ?",
            (graph,),
        ).fetchone()
        last = records[-1].version if records else after
        if end is not None and (last < end[1] or (expected is not None and expected[0] != end[0])):
            raise _damage(graph, (records[-1].version if records else after) + 1, "is missing")
    return records


def _damage(graph: str, version: int, fault: str) -> SnapshotDamaged:
    return SnapshotDamaged(f"change log of graph {graph!r}", f"the record of version {version} {fault}")


def forget_changes(connection: sqlite3.Connection, graph: str) -> None:
    """Delete all changes of a graph: it was replaced or removed. The caller has begun a transaction."""
    for table in OF_ONE_GRAPH:
        connection.execute(f"DELETE FROM {table} WHERE graph = ?", (graph,))  # noqa: S608 - our own names


def forget_merged(connection: sqlite3.Connection, graph: str) -> None:
    """Delete the records that all stored versions of a graph include. The caller has begun a transaction."""
    connection.execute(
        "DELETE FROM change WHERE graph = ?1 AND version <= (SELECT min(version) FROM version WHERE graph = ?1)",
        (graph,),
    )
