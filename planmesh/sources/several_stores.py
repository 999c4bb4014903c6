"""Reads one graph that is spread over several stores, for example regional databases.

::

    by = "region"                    # or "domain": the label that assigns a node to a store

    [stores]
    eu = "neo4j://reader@db-eu:7687?password_file=eu.secret"
    us = "redis://:secret@cache-us:6379/0?graph=us"

A store holds the nodes with its label and the edges from and to them. Because stores require both ends of an edge, it
also holds the far ends of its cross edges, with the label of the store that they belong to. A cross edge may be in the
store of its source, of its target, or in both, with the same cost.
"""

from __future__ import annotations

import tomllib
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from planmesh.errors import Conflict, InvalidGraph, InvalidRequest, LimitExceeded
from planmesh.graph.model import Int32Array
from planmesh.graph.node_ids import NodeIdsBuilder
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.graph.rules import Origin, shown
from planmesh.ingest.graph_source import ROWS_PER_BATCH_MAX
from planmesh.sources.store_rows import StoreSource
from planmesh.store.protocol import GraphReading, GraphStore
from planmesh.store.urls import open_store, parse_store_url

SUFFIX: Final = ".toml"
FILE_BYTES_MAX: Final = 1 << 20
STORES_MAX: Final = 1_000
CROSS_EDGES_MAX: Final = 5_000_000
"""Most edges between stores; they stay in memory until all stores are read, as two stores may hold the same one."""

LABELS: Final = ("region", "domain")


@dataclass(frozen=True, slots=True)
class StoresFile:
    """The content of the file: the URL of each label's store. Never shown, because URLs may hold passwords."""

    name: str
    by: str
    urls: dict[str, str] = field(repr=False)


def read_stores_file(path: Path) -> StoresFile:
    """Read the file. Raises InvalidRequest, which repeats no URL, when its content is not as described above."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            raise LimitExceeded(f"{path.name}: expected at most {FILE_BYTES_MAX:,} bytes", bound="FILE_BYTES_MAX")
        document = tomllib.loads(content.decode())
    except OSError as error:
        raise InvalidRequest(f"{path.name}: {error.strerror or error}", field="source") from error
    except ValueError:
        raise InvalidRequest(f"{path.name}: expected TOML in UTF-8", field="source") from None
    by, urls = document.pop("by", LABELS[0]), document.pop("stores", None)
    if document or by not in LABELS or not isinstance(urls, dict) or not urls:
        raise InvalidRequest(f'{path.name}: expected by = "region" or "domain", and [stores] with URLs', field="source")
    if len(urls) > STORES_MAX:
        raise LimitExceeded(f"{path.name}: expected at most {STORES_MAX} stores, got {len(urls)}", bound="STORES_MAX")
    for label, url in urls.items():
        if not isinstance(url, str):
            raise InvalidRequest(f"{path.name}: stores.{label}: expected the URL of a store", field="source")
        try:
            parse_store_url(url)
        except InvalidRequest as error:
            raise InvalidRequest(f"{path.name}: stores.{label}: {error.message}", field="source") from None
    return StoresFile(path.name, by, urls)


class SeveralStoresSource(StoreSource):
    """The graph of all stores: each store's own nodes, then the edges within stores, then the cross edges."""

    def __init__(self, file: StoresFile, *, accept_changes: bool = False) -> None:
        self._file = file
        self._begin(accept_changes=accept_changes)

    @property
    def strategy(self) -> str:
        """The strategy that gives each store partitions of its own."""
        return self._file.by

    @property
    def stores(self) -> dict[str, str]:
        """The URL of each label's store, without a password."""
        return {label: parse_store_url(url).text for label, url in self._file.urls.items()}

    async def _rows(self) -> AsyncGenerator[NodeRows | EdgeRows, None]:
        async with AsyncExitStack() as stack:
            stores: dict[str, tuple[GraphStore, GraphReading]] = {}
            for label, url in self._file.urls.items():
                store = await open_store(url)
                stack.push_async_callback(store.close)
                counts = await store.counts()
                self._rows_total += counts.nodes + counts.edges
                stores[label] = store, await stack.enter_async_context(store.read())
            joining = _Joining(self._file.by, {label: store.url for label, (store, _) in stores.items()})
            for label, (_, reading) in stores.items():
                async for nodes in reading.nodes():
                    self._count(nodes)
                    yield joining.own_nodes(label, nodes)
            joining.check_far_ends()
            for label, (_, reading) in stores.items():
                async for edges in reading.edges():
                    self._count(edges)
                    yield joining.inner_edges(label, edges)
            for cross in joining.cross_edges(self._file.name):
                yield cross
            if not self._accept_changes:
                for store, reading in stores.values():
                    await _check_unchanged(store, reading)


async def _check_unchanged(store: GraphStore, reading: GraphReading) -> None:
    if not await reading.unchanged():
        raise Conflict(
            f"{store.url}: the graph was written to while it was read, so the rows may mix several of its states; "
            "load it again, or accept the rows with --accept-changes"
        )


@dataclass(slots=True)
class _CrossEdge:
    """The lowest cost of a cross edge in the first store that has it (`store`), and in the second (`again`)."""

    store: int
    cost: float
    again: float | None = None


class _Joining:
    """Assigns nodes to stores, and collects the cross edges."""

    def __init__(self, by: str, urls: dict[str, str]) -> None:
        self._by = by
        self._urls = urls
        self._names = list(urls)
        self._numbers = {label: number for number, label in enumerate(urls)}
        self._ids = NodeIdsBuilder()
        self._owners: list[Int32Array] = []
        self._owner: Int32Array = np.zeros(0, np.int32)
        self._far: list[tuple[int, list[str], Int32Array]] = []
        self._cross: dict[tuple[str, str], _CrossEdge] = {}
        self._first: dict[tuple[str, str], int] = {}

    def own_nodes(self, label: str, rows: NodeRows) -> NodeRows:
        """Return a store's own nodes, and record the others as far ends."""
        store = self._numbers[label]
        given = rows.regions if self._by == "region" else rows.domains
        owners: Int32Array = np.array([self._numbers.get(one, -1) for one in given], np.int32)
        if (owners < 0).any():
            row = int(np.argmax(owners < 0))
            raise InvalidGraph(
                f"node {shown(rows.ids[row])}: expected a {self._by} that has a store "
                f"({', '.join(self._names[:20])}), got {shown(given[row])}",
                source=self._urls[label],
                field=self._by,
            )
        own = np.flatnonzero(owners == store).tolist()
        far = np.flatnonzero(owners != store)
        if len(far):
            self._far.append((store, [rows.ids[row] for row in far.tolist()], owners[far]))
        ids = [rows.ids[row] for row in own]
        origin = self._place(label, "node", len(ids))
        self._ids.add(ids, origin)
        self._owners.append(np.full(len(ids), store, np.int32))
        return NodeRows(ids, [rows.domains[row] for row in own], [rows.regions[row] for row in own], origin)

    def check_far_ends(self) -> None:
        """Raise InvalidGraph unless every far end is a node of the store that it belongs to."""
        self._owner = np.concatenate([*self._owners, np.zeros(0, np.int32)])
        for store, ids, owners in self._far:
            numbers = self._ids.lookup(ids)
            wrong = (numbers < 0) | (self._owner[numbers] != owners if len(self._owner) else True)
            if np.any(wrong):
                row = int(np.argmax(wrong))
                label = self._names[int(owners[row])]
                raise InvalidGraph(
                    f"node {shown(ids[row])}, the far end of a cross edge, belongs to {self._by} {shown(label)}, "
                    f"whose store {self._urls[label]} does not have it as a node of its own",
                    source=self._urls[self._names[store]],
                    field=self._by,
                )
        self._far.clear()

    def inner_edges(self, label: str, rows: EdgeRows) -> EdgeRows:
        """Return the edges within a store, and record the cross edges."""
        store = self._numbers[label]
        tails, heads = self._owners_of(label, rows.sources), self._owners_of(label, rows.targets)
        foreign = (tails != store) & (heads != store)
        if foreign.any():
            row = int(np.argmax(foreign))
            raise InvalidGraph(
                f"the edge from {shown(rows.sources[row])} to {shown(rows.targets[row])} has no end in this store's "
                f"{self._by} {shown(label)}",
                source=self._urls[label],
            )
        inner = (tails == store) & (heads == store)
        for row in np.flatnonzero(~inner).tolist():
            self._note_cross(store, (rows.sources[row], rows.targets[row]), float(rows.costs[row]))
        kept = np.flatnonzero(inner)
        sources = [rows.sources[row] for row in kept.tolist()]
        targets = [rows.targets[row] for row in kept.tolist()]
        return EdgeRows(sources, targets, rows.costs[kept], self._place(label, "edge", len(kept)))

    def cross_edges(self, name: str) -> list[EdgeRows]:
        """Return the cross edges. Raises InvalidGraph when two stores disagree on the cost of one."""
        for (source, target), edge in self._cross.items():
            if edge.again is not None and edge.again != edge.cost:
                raise InvalidGraph(
                    f"the stores disagree on the cross edge from {shown(source)} to {shown(target)}: "
                    f"{self._urls[self._names[edge.store]]} has the cost {edge.cost:g}, the store of its other end "
                    f"{edge.again:g}",
                    source=name,
                    field="cost",
                )
        pairs = list(self._cross)
        batches = []
        for first in range(0, len(pairs), ROWS_PER_BATCH_MAX):
            batch = pairs[first : first + ROWS_PER_BATCH_MAX]
            costs = np.array([self._cross[pair].cost for pair in batch], np.float64)
            sources, targets = [source for source, _ in batch], [target for _, target in batch]
            batches.append(EdgeRows(sources, targets, costs, Origin(name, "cross edge", first + 1)))
        return batches

    def _owners_of(self, label: str, ids: list[str]) -> Int32Array:
        numbers = self._ids.lookup(ids)
        if (numbers < 0).any():
            node = ids[int(np.argmax(numbers < 0))]
            raise Conflict(
                f"{self._urls[label]}: an edge has the end {shown(node)}, which was not a node when nodes were read; "
                "the graph was written to meanwhile: load it again"
            )
        owners: Int32Array = self._owner[numbers]
        return owners

    def _note_cross(self, store: int, pair: tuple[str, str], cost: float) -> None:
        known = self._cross.get(pair)
        if known is None:
            if len(self._cross) == CROSS_EDGES_MAX:
                raise LimitExceeded(
                    f"expected at most {CROSS_EDGES_MAX:,} edges between stores, got more", bound="CROSS_EDGES_MAX"
                )
            self._cross[pair] = _CrossEdge(store, cost)
        elif known.store == store:
            known.cost = min(known.cost, cost)
        else:
            known.again = cost if known.again is None else min(known.again, cost)

    def _place(self, label: str, unit: str, count: int) -> Origin:
        """Return the origin of the next batch of a store; rows are numbered as this source yields them."""
        first = self._first.get((label, unit), 1)
        self._first[label, unit] = first + count
        return Origin(self._urls[label], unit, first)
