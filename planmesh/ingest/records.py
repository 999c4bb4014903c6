"""Turns records with attributes, as in node-link JSON, GraphML and GML, into checked batches.

A record knows its line, so an error names it exactly. Duplicate nodes and edges to unknown nodes are detected here as
well, because later checks know the number of a record and not its line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from planmesh.errors import InvalidGraph
from planmesh.graph.model import Float64Array
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.graph.rules import Fault, Origin, find_edge_fault, find_node_fault, shown
from planmesh.ingest.graph_source import ROWS_PER_BATCH_MAX, Columns, GraphSource, SourceDescription
from planmesh.ingest.input_file import InputFile

Record = Mapping[str, Any]
"""The attributes of a node or an edge: texts, numbers, or values that are refused."""

ATTRIBUTES_NAMED_MAX: Final = 20
"""Most attributes that a message lists."""

RECORDS_SEARCHED_MAX: Final = 1_000
"""Most records whose attributes a message lists."""

NODES: Final = "nodes"
EDGES: Final = "edges"

_ABSENT: Final = object()


@dataclass(slots=True)
class RecordReader:
    """Turns the records of one file into batches, the nodes first.

    `place(kind, index)` names the place of record `index` of the nodes or edges; it is called only for messages.
    """

    source: str
    columns: Columns
    place: Callable[[str, int], str]
    known: set[str] = field(default_factory=set)

    def node_batches(self, records: Sequence[Record]) -> Iterator[NodeRows]:
        """Yield the nodes. Raises InvalidGraph for one that comes twice."""
        columns = self.columns
        labels = [name for name in ("domain", "region") if self._is_used(records, NODES, name)]
        for first in range(0, len(records), ROWS_PER_BATCH_MAX):
            batch = records[first : first + ROWS_PER_BATCH_MAX]
            ids = self._ids(batch, NODES, first, columns.id)
            domains = self._labels(batch, first, columns.domain) if "domain" in labels else None
            regions = self._labels(batch, first, columns.region) if "region" in labels else None
            fault = find_node_fault(
                ids,
                domains,
                regions,
                id_field=columns.id,
                domain_field=columns.domain,
                region_field=columns.region,
            )
            self._raise(fault, NODES, first)
            for row, node_id in enumerate(ids):
                if node_id in self.known:
                    raise self._error(
                        NODES, first + row, columns.id, f"expected each node once, got {shown(node_id)} again"
                    )
                self.known.add(node_id)
            yield NodeRows.filled(ids, domains, regions, Origin(self.source, "record", first + 1))

    def edge_batches(self, records: Sequence[Record]) -> Iterator[EdgeRows]:
        """Yield the edges. Raises InvalidGraph for an end that is not one of the nodes that `node_batches` yielded."""
        columns = self.columns
        has_costs = self._is_used(records, EDGES, "cost")
        for first in range(0, len(records), ROWS_PER_BATCH_MAX):
            batch = records[first : first + ROWS_PER_BATCH_MAX]
            sources = self._ids(batch, EDGES, first, columns.source)
            targets = self._ids(batch, EDGES, first, columns.target)
            costs = self._costs(batch, first) if has_costs else None
            fault = find_edge_fault(
                sources,
                targets,
                costs,
                source_field=columns.source,
                target_field=columns.target,
                cost_field=columns.cost,
            )
            self._raise(fault, EDGES, first)
            for ends, name in ((sources, columns.source), (targets, columns.target)):
                if not self.known.issuperset(ends):
                    row = next(row for row, end in enumerate(ends) if end not in self.known)
                    raise self._error(EDGES, first + row, name, f"no node has the id {shown(ends[row])}")
            origin = Origin(self.source, "record", first + 1)
            yield EdgeRows.filled(sources, targets, None if costs is None else costs + 0.0, origin)

    def _error(self, kind: str, index: int, name: str, message: str) -> InvalidGraph:
        return InvalidGraph(message, source=self.source, record=self.place(kind, index), field=name)

    def _raise(self, fault: Fault | None, kind: str, first: int) -> None:
        if fault:
            raise self._error(kind, first + fault.row, fault.field, fault.message)

    def _is_used(self, records: Sequence[Record], kind: str, column: str) -> bool:
        """Return whether any record has the attribute. Raises InvalidGraph when none has and the user named it."""
        name = getattr(self.columns, column)
        if any(name in record for record in records):
            return True
        if records and column in self.columns.explicit:
            message = f"no record has the attribute {name!r}; the records have {_attributes(records)}"
            raise self._error(kind, 0, name, message)
        return False

    def _ids(self, batch: Sequence[Record], kind: str, first: int, name: str) -> list[str]:
        values = [record.get(name, _ABSENT) for record in batch]
        if set(map(type, values)) <= {str}:
            return values
        ids = []
        for row, value in enumerate(values):
            if value is _ABSENT:
                message = f"expected an attribute {name!r}; the record has {_attributes(batch[row : row + 1])}"
                raise self._error(kind, first + row, name, message)
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                raise self._error(kind, first + row, name, f"expected a text or a number as an id, got {shown(value)}")
            ids.append(str(value))
        return ids

    def _labels(self, batch: Sequence[Record], first: int, name: str) -> list[str]:
        labels = []
        for row, record in enumerate(batch):
            value = record.get(name)
            if isinstance(value, bool) or not isinstance(value, str | int | float | None):
                raise self._error(NODES, first + row, name, f"expected a text or a number, got {shown(value)}")
            labels.append("" if value is None else str(value))
        return labels

    def _costs(self, batch: Sequence[Record], first: int) -> Float64Array:
        """Return the costs, float64[len(batch)]; a record without one costs 1 unless the user named the attribute."""
        name = self.columns.cost
        absent: Any = _ABSENT if "cost" in self.columns.explicit else 1.0
        costs = np.empty(len(batch), np.float64)
        for row, record in enumerate(batch):
            value = record.get(name, absent)
            if value is _ABSENT:
                message = f"expected an attribute {name!r}; the record has {_attributes(batch[row : row + 1])}"
                raise self._error(EDGES, first + row, name, message)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise self._error(EDGES, first + row, name, f"expected a number, got {shown(value)}")
            try:
                costs[row] = value
            except OverflowError:  # a whole number beyond float64
                costs[row] = np.inf
        return costs


class RecordSource(GraphSource):
    """A file that is parsed as a whole when the source is created, into records of nodes and edges."""

    _file: InputFile
    _reader: RecordReader
    _undirected: bool
    _nodes: Sequence[Record]
    _edges: Sequence[Record]

    @property
    def description(self) -> SourceDescription:
        """Whether the file says that the graph is undirected; every node is declared."""
        return SourceDescription(undirected=self._undirected)

    @property
    def bytes_total(self) -> int:
        """See GraphSource."""
        return self._file.bytes_total

    @property
    def bytes_read(self) -> int:
        """All bytes, because the file was parsed as a whole."""
        return self._file.bytes_read

    def batches(self) -> Iterator[NodeRows | EdgeRows]:
        """See GraphSource."""
        yield from self._reader.node_batches(self._nodes)
        yield from self._reader.edge_batches(self._edges)


def _attributes(records: Sequence[Record]) -> str:
    names = sorted({name for record in records[:RECORDS_SEARCHED_MAX] for name in record})
    if not names:
        return "none"
    more = f" and {len(names) - ATTRIBUTES_NAMED_MAX} more" if len(names) > ATTRIBUTES_NAMED_MAX else ""
    return ", ".join(map(repr, names[:ATTRIBUTES_NAMED_MAX])) + more
