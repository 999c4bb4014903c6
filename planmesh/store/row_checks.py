"""Checks of rows before a store writes them and after it reads them: the rules of planmesh.graph, and call bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Sequence
from typing import Final

import numpy as np

from planmesh.errors import InvalidGraph, InvalidRequest, LimitExceeded, PatternsUnsupported
from planmesh.graph.model import Float64Array
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.graph.rules import Origin, check_edge_rows, check_node_rows
from planmesh.store.protocol import (
    CHANGED_EDGES_MAX,
    CHANGED_NODES_MAX,
    DEPTH_MAX,
    POSITION_MAX,
    ROWS_PER_CALL_MAX,
    StoreChanges,
)

STORES_WITH_PATTERNS: Final = ("neo4j", "hybrid")
"""Stores that answer pattern queries; hybrid does when the store in its back does."""


def check_nodes(rows: NodeRows, source: str = "", first: int = 1) -> NodeRows:
    """Return the rows. Raises InvalidGraph for the first that breaks a rule, LimitExceeded for too many rows.

    For the message, `source` is where the rows come from and `first` the number of the first row there.
    """
    check_count(len(rows.ids))
    check_node_rows(Origin(source, "row", first), rows.ids, rows.domains, rows.regions)
    return rows


def check_edges(rows: EdgeRows, source: str = "", first: int = 1) -> EdgeRows:
    """Return the rows with -0.0 made 0.0. Raises InvalidGraph for the first that breaks a rule; see `check_nodes`."""
    check_count(len(rows.sources))
    costs = check_edge_rows(Origin(source, "row", first), rows.sources, rows.targets, rows.costs)
    assert costs is not None, "costs were given"
    return EdgeRows(rows.sources, rows.targets, costs)


def check_count(rows: int) -> None:
    """Raise LimitExceeded for more than ROWS_PER_CALL_MAX rows."""
    if rows > ROWS_PER_CALL_MAX:
        raise LimitExceeded(
            f"expected at most {ROWS_PER_CALL_MAX:,} rows a call, got {rows:,}: send them in several calls",
            bound="ROWS_PER_CALL_MAX",
        )


def check_changes(changes: StoreChanges, source: str = "") -> StoreChanges:
    """Return the changes with -0.0 made 0.0.

    Raises InvalidRequest for a version that is out of range, LimitExceeded for too many nodes or edges, InvalidGraph
    for a row that breaks a rule, or for a node or an edge that occurs twice.
    """
    check_position(changes.version, lowest=1)
    upserted = changes.upserted_edges
    nodes = [*changes.removed_nodes(), *changes.upserted_nodes.ids]
    edges = [*changes.deleted_edges, *zip(upserted.sources, upserted.targets, strict=False)]
    for what, found, most, bound in (
        ("nodes", len(nodes), CHANGED_NODES_MAX, "CHANGED_NODES_MAX"),
        ("edges", len(edges), CHANGED_EDGES_MAX, "CHANGED_EDGES_MAX"),
    ):
        if found > most:
            raise LimitExceeded(
                f"expected at most {most:,} changed {what} in a batch, got {found:,}: apply them in several batches",
                bound=bound,
            )
    check_nodes(changes.recreated_nodes, source)
    check_nodes(changes.upserted_nodes, source)
    checked = check_edges(upserted, source)
    _check_distinct(nodes, "node", source)
    _check_distinct(edges, "edge", source)
    return dataclasses.replace(changes, upserted_edges=checked)


def check_position(position: int, *, lowest: int = 0) -> int:
    """Return the position, which is also a version. Raises InvalidRequest unless it is `lowest` to POSITION_MAX."""
    if not lowest <= position <= POSITION_MAX:
        raise InvalidRequest(
            f"expected a version from {lowest} to {POSITION_MAX}, got {position}: number the batches from 1",
            field="version",
        )
    return position


def _check_distinct(keys: Iterable[Hashable], what: str, source: str) -> None:
    seen: set[Hashable] = set()
    for key in keys:
        if key in seen:
            raise InvalidGraph(
                f"expected each {what} once in a batch of changes, got {key!r} twice: send the final effect only",
                source=source,
                field=what,
            )
        seen.add(key)


def check_depth(depth: int) -> None:
    """Raise InvalidRequest unless the depth is 1 to DEPTH_MAX."""
    if not 1 <= depth <= DEPTH_MAX:
        raise InvalidRequest(f"expected a depth from 1 to {DEPTH_MAX}, got {depth}", field="depth")


def cheapest_of_pairs(rows: EdgeRows) -> EdgeRows:
    """Return the cheapest row of each pair, at the place of the pair's first row."""
    best: dict[tuple[str, str], float] = {}
    for source, target, cost in zip(rows.sources, rows.targets, rows.costs.tolist(), strict=True):
        pair = (source, target)
        known = best.get(pair)
        if known is None or cost < known:
            best[pair] = cost
    if len(best) == len(rows.sources):
        return rows
    costs: Float64Array = np.fromiter(best.values(), np.float64, len(best))
    return EdgeRows([source for source, _ in best], [target for _, target in best], costs)


def last_of_ids(rows: NodeRows) -> NodeRows:
    """Return the last row of each id, at the place of the id's first row."""
    last = {node: (domain, region) for node, domain, region in zip(rows.ids, rows.domains, rows.regions, strict=True)}
    if len(last) == len(rows.ids):
        return rows
    return NodeRows(list(last), [domain for domain, _ in last.values()], [region for _, region in last.values()])


def slices(count: int, batch_rows: int) -> Sequence[slice]:
    """Return slices that divide `count` rows into batches."""
    return [slice(first, first + batch_rows) for first in range(0, count, batch_rows)]


def no_patterns(store: str) -> PatternsUnsupported:
    """Return the error of a store that has no pattern queries."""
    return PatternsUnsupported(
        f"it has no pattern queries; these stores have them: {', '.join(STORES_WITH_PATTERNS)}", store=store
    )
