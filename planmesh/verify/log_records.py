"""Checks of the log of changes: its chain of checksums, its versions, and the changes in its records."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError

from planmesh.graph.model import COST_MAX
from planmesh.graph.rules import find_id_fault, find_label_fault, find_text_fault, shown
from planmesh.internal.v1 import partition_pb2
from planmesh.v1 import graph_pb2
from planmesh.verify.report import LOAD_CHANGES, Finding
from planmesh.versions.change_log import CHECKSUM_BYTES, record_checksum
from planmesh.versions.embedded import CATALOG_NAME

STATE_BYTES_MAX: Final = 64
"""Most bytes of the state of a node, as in the contract."""


@dataclass(slots=True)
class KeptLog:
    """The records of a graph that the catalog still has, decoded.

    `base` is the stored version on which the first one builds. `from_load` says that it is the load itself, so that the
    log has every change there ever was. Only a `whole` log can be replayed.
    """

    base: int
    from_load: bool = False
    whole: bool = True
    batches: list[partition_pb2.ChangeBatch] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def state_finding(check: str, expected: str, found: str, nodes: tuple[str, ...] = ()) -> Finding:
    """Return a fault in the catalog. `expected` names the record, `nodes` the row."""
    return Finding(CATALOG_NAME, "", check, 1, nodes, expected, found, LOAD_CHANGES)


def record_name(graph: str, version: int) -> str:
    """Return the name of a record in findings."""
    return f"the record of version {version} of graph {graph!r}"


def check_log(
    connection: sqlite3.Connection, graph: str, versions: list[int], on_record: Callable[[], None]
) -> KeptLog:
    """Check the kept records of a graph; `versions` are its stored ones, ascending. Raises sqlite3.Error."""
    rows = connection.execute(
        "SELECT version, changes, payload, previous, checksum FROM change WHERE graph = ? ORDER BY version", (graph,)
    )
    log = KeptLog(versions[-1])
    before: tuple[int, bytes] | None = None
    for version, changes, payload, previous, checksum in rows:
        name = record_name(graph, version)
        if before is None:
            log.base = max((stored for stored in versions if stored < version), default=versions[0])
            log.from_load = previous == b""
            if len(previous) not in (0, CHECKSUM_BYTES):
                _add(log, "record", f"{name}: the checksum of the record before it", f"{len(previous)} bytes")
        last = log.base if before is None else before[0]
        if version != last + 1:
            missing = record_name(graph, last + 1)
            _add(log, "record", f"{missing}, which follows version {last}", f"version {version} is the next one")
        elif before is not None and previous != before[1]:
            _add(log, "record", f"{name}, after the record with the checksum {before[1].hex()}", previous.hex())
        actual = record_checksum(previous, version, payload)
        if actual != checksum:
            _add(log, "record", f"{name}, with the checksum {checksum.hex()}", actual.hex())
        _decode(log, name, version, changes, payload)
        before = version, checksum
        on_record()
    _check_end(connection, graph, versions, before, log)
    return log


def _check_end(
    connection: sqlite3.Connection, graph: str, versions: list[int], last: tuple[int, bytes] | None, log: KeptLog
) -> None:
    """Compare the last record with the end of the log and the graph's last version."""
    row = connection.execute("SELECT last_version FROM graph WHERE name = ?", (graph,)).fetchone()
    expected = 0 if row is None else int(row[0])
    reached = max(versions[-1], last[0] if last else 0)
    if reached != expected:
        name = record_name(graph, reached + 1) if reached < expected else f"graph {graph!r}"
        _add(log, "log end", f"{name}: the log to lead to version {expected}", f"it ends with version {reached}")
    row = connection.execute("SELECT checksum FROM log_end WHERE graph = ?", (graph,)).fetchone()
    if last is not None and (row is None or row[0] != last[1]):
        found = "none" if row is None else row[0].hex()
        text = f"{record_name(graph, last[0])} at the end of the log, with the checksum {last[1].hex()}"
        _add(log, "log end", text, found)


def _decode(log: KeptLog, name: str, version: int, changes: int, payload: bytes) -> None:
    try:
        batch = partition_pb2.ChangeBatch.FromString(payload)
    except DecodeError as error:
        _add(log, "payload", f"{name}: a ChangeBatch", f"{error}")
        return
    if batch.version != version:
        _add(log, "payload", f"{name}: changes of that version", f"those of version {batch.version}")
    if len(batch.changes) != changes:
        _add(log, "payload", f"{name}: {changes} changes", str(len(batch.changes)))
    for position, change in enumerate(batch.changes):
        fault = _change_fault(change)
        if fault:
            _add(log, "payload", f"{name}: changes that keep the rules", f"change {position}: {fault}")
            break
    log.batches.append(batch)


def _add(log: KeptLog, check: str, expected: str, found: str) -> None:
    log.whole = False
    log.findings.append(state_finding(check, expected, found))


def cost_fault(cost: float) -> str:
    """Return what is wrong with a cost, "" if nothing is."""
    return "" if 0.0 <= cost <= COST_MAX else f"expected a finite cost from 0 to {COST_MAX:g}, got {cost!r}"


def edge_fault(source: str, target: str) -> str:
    """Return what is wrong with the ends of an edge, "" if nothing is."""
    fault = find_id_fault([source, target])
    if fault is not None:
        return fault.message
    return f"expected two different ends, got {shown(source)} twice" if source == target else ""


def node_fault(node: str, domain: str, region: str, state: str) -> str:
    """Return what is wrong with the id, the labels or the state of a node, "" if nothing is."""
    fault = (
        find_id_fault([node])
        or find_label_fault([domain, region], "label")
        or find_text_fault([state], "state", bytes_min=0, bytes_max=STATE_BYTES_MAX)
    )
    return "" if fault is None else f"{fault.field}: {fault.message}"


def _change_fault(change: graph_pb2.Change) -> str:
    """Return what is wrong with a change, "" if nothing is. The log has costs, never factors."""
    op = change.WhichOneof("op")
    if op == "upsert_node":
        node = change.upsert_node
        return node_fault(node.id, node.domain, node.region, node.state)
    if op == "delete_node":
        return node_fault(change.delete_node.id, "", "", "")
    if op == "delete_edge":
        return edge_fault(change.delete_edge.source, change.delete_edge.target)
    if op is None:
        return "expected a change of a node or an edge, got none"
    edge = change.upsert_edge
    factor = "expected a cost, got a factor" if edge.HasField("cost_factor") else ""
    return edge_fault(edge.source, edge.target) or factor or cost_fault(edge.cost)
