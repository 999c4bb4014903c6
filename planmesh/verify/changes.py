"""Checks of what updates have changed: the catalog's file, the log of changes, and the changed state."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa

from planmesh.graph.rules import find_id_fault
from planmesh.verify.files import raise_if_replaced
from planmesh.verify.log_records import (
    KeptLog,
    check_log,
    cost_fault,
    edge_fault,
    node_fault,
    record_name,
    state_finding,
)
from planmesh.verify.replay import BaseRows, ExpectedEdge, ExpectedNode, Names, Replay
from planmesh.verify.report import LOAD_ROWS, RESTORE_CATALOG, Advance, Finding, Tally, Verification
from planmesh.verify.stored_version import StoredSnapshot
from planmesh.versions.catalog import BUSY_TIMEOUT_S
from planmesh.versions.embedded import CATALOG_NAME

CHANGES: Final = "changes"
"""The name of the check."""

SCHEMA_WITH_CHANGES: Final = 2
"""The first schema of the catalog that has a log of changes."""

INTEGRITY_LINES_MAX: Final = 20
"""Most faults of the database that SQLite names."""


def check_changes(found: StoredSnapshot, outcome: Verification, advance: Advance, skip: Callable[[str], None]) -> None:
    """Check the log of changes of a graph, and that it leads to the changed state.

    All is read in one transaction, so the mesh may change the graph meanwhile. Memory: the kept log. Raises VersionGone
    when a newer version replaces the log's base meanwhile.
    """
    path = found.rows.parents[2] / CATALOG_NAME
    with outcome.measured(CHANGES, "records and rows") as tally:
        try:
            with closing(_open(path)) as connection:
                connection.execute("BEGIN")
                _ChangesCheck(connection, found, outcome, tally, advance, skip).run()
        except sqlite3.Error as error:
            outcome.add(tally, [_integrity_finding(str(error))])


def _open(path: Path) -> sqlite3.Connection:
    """Open the catalog for reading, as `read_versions` does."""
    is_open = path.with_name(f"{path.name}-wal").exists()
    uri = f"{path.absolute().as_uri()}?mode=ro{'' if is_open else '&immutable=1'}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    # A damaged text is shown in a finding, so it must not end the check.
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    return connection


def _integrity_finding(fault: str) -> Finding:
    return Finding(CATALOG_NAME, "", "integrity", 1, (), "a database that SQLite finds intact", fault, RESTORE_CATALOG)


class _ChangesCheck:
    """One check: its connection, and how far it is."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        found: StoredSnapshot,
        outcome: Verification,
        tally: Tally,
        advance: Advance,
        skip: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._found = found
        self._graph = found.stored.graph
        self._outcome = outcome
        self._tally = tally
        self._advance = advance
        self._skip = skip
        self._done = self._total = 0

    def run(self) -> None:
        """Check the database's pages, the log and the changed state."""
        for row in self._connection.execute(f"PRAGMA integrity_check({INTEGRITY_LINES_MAX})"):
            if row[0] != "ok":
                self._outcome.add(self._tally, [_integrity_finding(str(row[0]))])
        self._tally.checked += 1
        if self._connection.execute("PRAGMA user_version").fetchone()[0] < SCHEMA_WITH_CHANGES:
            return
        stored = {
            version: (nodes + edges, description)
            for version, nodes, edges, description in self._rows(
                "SELECT version, nodes, edges, description FROM version WHERE graph = ? ORDER BY version"
            )
        }
        if not stored:
            return  # the graph is being removed
        self._total = sum(
            self._rows(f"SELECT count(*) FROM {table} WHERE graph = ?").fetchone()[0]  # noqa: S608 - our own names
            for table in ("change", "node_state", "edge_state")
        )
        log = check_log(self._connection, self._graph, list(stored), self._step)
        self._outcome.add(self._tally, log.findings)
        replay = self._replay(log, *stored[log.base])
        self._outcome.add(self._tally, self._node_findings(replay, complete=log.from_load))
        self._outcome.add(self._tally, self._edge_findings(replay, complete=log.from_load))

    def _rows(self, statement: str) -> sqlite3.Cursor:
        return self._connection.execute(statement, (self._graph,))

    def _step(self, count: int = 1, *, counts: bool = True) -> None:
        self._done += count
        self._tally.checked += count if counts else 0
        self._advance(CHANGES, self._done, self._total)

    def _replay(self, log: KeptLog, row_count: int, description: str) -> Replay | None:
        """Replay the log; None if it is damaged, or its base cannot be read."""
        if not log.whole:
            self._skip("the changed state: the log that leads to it has findings")
            return None
        ends = [
            row[0]
            for end in ("source", "target")
            for row in self._rows(f"SELECT DISTINCT {end} FROM edge_state WHERE graph = ? AND cost IS NOT NULL")  # noqa: S608
            if find_id_fault(row) is None
        ]
        names = Names.of(log.batches, ends)
        base = BaseRows()
        if names.nodes:
            self._total += row_count
            folder = self._found.rows.with_name(str(log.base))
            try:
                base = BaseRows.read(
                    folder,
                    names,
                    undirected=bool(json.loads(description).get("options", {}).get("undirected", False)),
                    on_rows=lambda count: self._step(count, counts=False),
                )
            except (OSError, pa.ArrowException) as error:
                raise_if_replaced(folder)
                shown = "/".join(folder.parts[-3:])
                fault = Finding(shown, "", "rows of the base", 1, (), "readable rows", str(error), LOAD_ROWS)
                self._outcome.add(self._tally, [fault])
                self._skip("the changed state: the rows of its base cannot be read")
                return None
        replay = Replay(base, from_load=log.from_load)
        for batch in log.batches:
            replay.apply(batch)
        self._outcome.add(
            self._tally,
            (
                state_finding("replay", f"{record_name(self._graph, version)}: changes of what exists", fault)
                for version, fault in replay.faults
            ),
        )
        return replay

    def _node_findings(self, replay: Replay | None, *, complete: bool) -> Iterator[Finding]:
        wanted = dict(replay.nodes) if replay is not None else {}
        for node, present, domain, region, state, attributes in self._rows(
            "SELECT id, present, domain, region, state, attributes FROM node_state WHERE graph = ?"
        ):
            self._step()
            values = _attributes(attributes)
            faults = [node_fault(node, domain, region, state)]
            faults += [] if present in (0, 1) else [f"present = {present}"]
            faults += [] if values is not None else [f"attributes {attributes!r}"]
            expected = wanted.pop(node, None)
            if any(faults):
                yield state_finding("node state", "a valid row", "; ".join(filter(None, faults)), (node,))
            elif expected is not None and values is not None:
                seen = present, domain, region, state
                if not _is_node(expected, seen, values):
                    yield state_finding("node state", _text(expected), f"{seen}, {values}", (node,))
            elif complete and replay is not None:
                yield state_finding("node state", "no row: no record changed the node", "one", (node,))
        for node, expected in wanted.items():
            yield state_finding("node state", _text(expected), "no row", (node,))

    def _edge_findings(self, replay: Replay | None, *, complete: bool) -> Iterator[Finding]:
        wanted = dict(replay.edges) if replay is not None else {}
        for source, target, cost, loaded_cost, attributes, *present in self._rows(
            "SELECT e.source, e.target, e.cost, e.loaded_cost, e.attributes, s.present, t.present FROM edge_state e"
            " LEFT JOIN node_state s ON s.graph = e.graph AND s.id = e.source"
            " LEFT JOIN node_state t ON t.graph = e.graph AND t.id = e.target WHERE e.graph = ?"
        ):
            self._step()
            ends, values = (source, target), _attributes(attributes)
            faults = [edge_fault(source, target), cost_fault(loaded_cost), cost_fault(0.0 if cost is None else cost)]
            faults += [] if values is not None else [f"attributes {attributes!r}"]
            expected = wanted.pop(ends, None)
            if any(faults):
                yield state_finding("edge state", "a valid row", "; ".join(filter(None, faults)), ends)
                continue
            if expected is not None and values is not None:
                if not _is_edge(expected, cost, loaded_cost) or not expected.values.match(values):
                    yield state_finding("edge state", _text(expected), f"{cost}, {loaded_cost}, {values}", ends)
            elif complete and replay is not None:
                yield state_finding("edge state", "no row: no record changed the edge", "one", ends)
            if cost is not None and replay is not None:
                for end, is_present in zip(ends, present, strict=True):
                    if not (replay.exists(end) if is_present is None else is_present):
                        yield state_finding("edge state", "an edge between existing nodes", f"no node {end!r}", ends)
        for ends, expected in wanted.items():
            yield state_finding("edge state", _text(expected), "no row", ends)


def _is_node(expected: ExpectedNode, seen: tuple[int, str, str, str], values: dict[str, str]) -> bool:
    known = int(expected.present), expected.domain, expected.region, expected.state
    same = all(one is None or one == other for one, other in zip(known, seen, strict=True))
    return same and expected.values.match(values)


def _is_edge(expected: ExpectedEdge, cost: float | None, loaded_cost: float) -> bool:
    return expected.cost == cost and expected.loaded_cost in (None, loaded_cost)


def _text(expected: ExpectedNode | ExpectedEdge) -> str:
    attributes = {key: value for key, value in expected.values.attributes.items() if value}
    if isinstance(expected, ExpectedEdge):
        return f"as the log says: {expected.cost}, {expected.loaded_cost}, {attributes}"
    known = int(expected.present), expected.domain, expected.region, expected.state
    return f"as the log says: {known}, {attributes}"


def _attributes(text: str) -> dict[str, str] | None:
    """Return the attributes of a row, None if they are not an object of texts."""
    try:
        found: Any = orjson.loads(text.encode("utf-8", "surrogateescape"))
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        return None
    return found
