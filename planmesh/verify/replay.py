"""Replays the log of changes over the stored rows of its base: the values that the changed state must have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from planmesh.graph.rows import ROWS_PER_BATCH
from planmesh.graph.rules import shown
from planmesh.internal.v1 import partition_pb2
from planmesh.v1 import graph_pb2
from planmesh.versions.row_files import EDGES_NAME, NODES_NAME

Pair = tuple[str, str]


@dataclass(slots=True)
class Values:
    """What the log says about attributes. "" is a removed one. `complete` says that there are no others."""

    complete: bool
    attributes: dict[str, str] = field(default_factory=dict)

    def match(self, found: Mapping[str, str]) -> bool:
        """Whether the attributes of a row are those that the log says."""
        if self.complete and found.keys() - self.attributes.keys():
            return False
        return all(found.get(key, "") == value for key, value in self.attributes.items())


@dataclass(slots=True)
class ExpectedNode:
    """A node after the log. None stands for a value that an older change may have set."""

    present: bool
    values: Values
    domain: str | None = None
    region: str | None = None
    state: str | None = None


@dataclass(slots=True)
class ExpectedEdge:
    """An edge after the log. `cost` is None if it does not exist, `loaded_cost` if an older change may have set it."""

    cost: float | None
    values: Values
    loaded_cost: float | None = None


@dataclass(frozen=True, slots=True)
class Names:
    """What the log and the changed state name: nodes and edges, and the nodes that were deleted."""

    nodes: set[str]
    edges: set[Pair]
    deleted: set[str]

    @classmethod
    def of(cls, batches: Iterable[partition_pb2.ChangeBatch], ends: Iterable[str]) -> Names:
        """Return the names in the log; `ends` are further nodes that are looked up."""
        names = cls(set(ends), set(), set())
        for batch in batches:
            for change in batch.changes:
                op = change.WhichOneof("op")
                if op == "upsert_node":
                    names.nodes.add(change.upsert_node.id)
                elif op == "delete_node":
                    names.nodes.add(change.delete_node.id)
                    names.deleted.add(change.delete_node.id)
                elif op is not None:
                    edge = change.upsert_edge if op == "upsert_edge" else change.delete_edge
                    names.nodes.update((edge.source, edge.target))
                    names.edges.add((edge.source, edge.target))
        return names


@dataclass(slots=True)
class BaseRows:
    """The rows of the base that have to do with changes: labels by id, and costs by the ends of an edge."""

    nodes: dict[str, tuple[str, str]] = field(default_factory=dict)
    edges: dict[Pair, float] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, names: Names, *, undirected: bool, on_rows: Callable[[int], None]) -> BaseRows:
        """Read the named rows. Of edges between the same nodes, the cheapest counts.

        Raises OSError and pyarrow's ArrowException when a file cannot be read.
        """
        rows = cls()
        nodes = pa.array(sorted(names.nodes), pa.string())
        for table in _tables(folder / NODES_NAME, on_rows):
            some = table.filter(pc.is_in(table["id"], value_set=nodes))
            columns = (some[name].to_pylist() for name in ("id", "domain", "region"))
            rows.nodes.update({node: (domain, region) for node, domain, region in zip(*columns, strict=True)})
        deleted = pa.array(sorted(names.deleted), pa.string())
        ends = pa.array(sorted({end for pair in names.edges for end in pair} | names.deleted), pa.string())
        for table in _tables(folder / EDGES_NAME, on_rows):
            source, target = table["source"], table["target"]
            both = pc.and_(pc.is_in(source, value_set=ends), pc.is_in(target, value_set=ends))
            one = pc.or_(pc.is_in(source, value_set=deleted), pc.is_in(target, value_set=deleted))
            some = table.filter(pc.or_(both, one))
            columns = (some[name].to_pylist() for name in ("source", "target", "cost"))
            for tail, head, cost in zip(*columns, strict=True):
                rows._add(names, tail, head, cost)
                if undirected:
                    rows._add(names, head, tail, cost)
        return rows

    def _add(self, names: Names, tail: str, head: str, cost: float) -> None:
        if tail != head and ((tail, head) in names.edges or tail in names.deleted or head in names.deleted):
            self.edges[tail, head] = min(cost, self.edges.get((tail, head), cost))


def _tables(path: Path, on_rows: Callable[[int], None]) -> Iterator[Any]:
    with pq.ParquetFile(path, memory_map=False, page_checksum_verification=True) as file:
        for batch in file.iter_batches(ROWS_PER_BATCH):
            yield batch
            on_rows(batch.num_rows)


class Replay:
    """The nodes and edges that the kept log touches, after it.

    `from_load` says that the base is the load, so that it has what the log does not. `faults` are the versions whose
    changes name what does not exist, with what they name.
    """

    def __init__(self, base: BaseRows, *, from_load: bool) -> None:
        self._base = base
        self._from_load = from_load
        self._at: dict[str, set[Pair]] = {}
        """The edges at a node, of the base and of the log."""
        for pair in base.edges:
            self._note(pair)
        self.nodes: dict[str, ExpectedNode] = {}
        self.edges: dict[Pair, ExpectedEdge] = {}
        self.faults: list[tuple[int, str]] = []

    def apply(self, batch: partition_pb2.ChangeBatch) -> None:
        """Apply the changes of a version, in their order."""
        for change in batch.changes:
            op = change.WhichOneof("op")
            if op == "upsert_node":
                self._upsert_node(change.upsert_node)
            elif op == "delete_node":
                self._delete_node(change.delete_node.id, batch.version)
            elif op == "upsert_edge":
                self._upsert_edge(change.upsert_edge, batch.version)
            else:
                pair = change.delete_edge.source, change.delete_edge.target
                self._delete_edge(pair, self._existing(pair), batch.version)

    def exists(self, node: str) -> bool:
        """Whether a node exists, if the log or the base has it."""
        found = self.nodes.get(node)
        return node in self._base.nodes if found is None else found.present

    def _upsert_node(self, node: graph_pb2.UpsertNode) -> None:
        if not self.exists(node.id):
            self.nodes[node.id] = ExpectedNode(True, Values(complete=True), "", "", "")
        elif node.id not in self.nodes:
            domain, region = self._base.nodes[node.id]
            known = self._from_load
            self.nodes[node.id] = (
                ExpectedNode(True, Values(known), domain, region, "") if known else ExpectedNode(True, Values(known))
            )
        expected = self.nodes[node.id]
        for name in ("domain", "region", "state"):
            if node.HasField(name):
                setattr(expected, name, getattr(node, name))
        expected.values.attributes.update(node.attributes)

    def _delete_node(self, node: str, version: int) -> None:
        if not self.exists(node):
            self.faults.append((version, f"delete_node of {shown(node)}, which does not exist"))
        for pair in self._at.get(node, ()):
            edge = self._existing(pair)
            if edge is not None:
                self._delete_edge(pair, edge, version)
        self.nodes[node] = ExpectedNode(False, Values(complete=True), "", "", "")

    def _upsert_edge(self, edge: graph_pb2.UpsertEdge, version: int) -> None:
        pair = edge.source, edge.target
        for end in pair:
            if not self.exists(end):
                self.faults.append((version, f"upsert_edge at {shown(end)}, which does not exist"))
        expected = self._existing(pair)
        if expected is None:
            if not edge.HasField("cost"):
                self.faults.append((version, f"upsert_edge of a new edge {shown(pair)} without a cost"))
                return
            expected = ExpectedEdge(edge.cost, Values(complete=True), edge.cost)
        if edge.HasField("cost"):
            expected.cost = edge.cost
        expected.values.attributes.update(edge.attributes)
        self.edges[pair] = expected
        self._note(pair)

    def _delete_edge(self, pair: Pair, before: ExpectedEdge | None, version: int) -> None:
        if before is None:
            self.faults.append((version, f"delete_edge of {shown(pair)}, which does not exist"))
            return
        self.edges[pair] = ExpectedEdge(None, Values(complete=True), before.loaded_cost)

    def _existing(self, pair: Pair) -> ExpectedEdge | None:
        """Return an edge that exists, None for another one."""
        found = self.edges.get(pair)
        if found is not None:
            return found if found.cost is not None else None
        cost = self._base.edges.get(pair)
        if cost is None:
            return None
        return ExpectedEdge(cost, Values(self._from_load), cost if self._from_load else None)

    def _note(self, pair: Pair) -> None:
        for end in pair:
            self._at.setdefault(end, set()).add(pair)
