"""Rows of a load on their way to arrays: checked, their ids made numbers, their edges on disk.

Memory grows with the ids (about 25 bytes a node and their text) and not with the edges, which are appended to files.
Edges may come before the nodes that they name: an end is given a number at once, and at the end every number must have
been declared. Nodes are then renumbered in the order of their declaration, so that the arrays are a function of the
rows of nodes and the rows of edges, however the two were mixed; a replay from the store gives the same arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from planmesh.errors import InvalidGraph, InvalidRequest, LimitExceeded
from planmesh.graph.model import BoolArray, Float64Array, Int32Array
from planmesh.graph.node_ids import NodeIds, NodeIdsBuilder
from planmesh.graph.packed_strings import pack
from planmesh.graph.rows import ROWS_PER_BATCH, EdgeRows, NodeRows
from planmesh.graph.rules import Origin, check_edge_rows, check_node_rows, shown
from planmesh.snapshot.array_file import open_array_file, write_array_file
from planmesh.snapshot.string_table import decode_strings, encode_strings

BATCH_ROWS_MAX: Final = 65_536
"""Rows of one batch, as graph.proto promises."""

EDGES_MAX: Final = 2_000_000_000
"""Directed edges of a graph before merging: 32 GB of spooled arrays."""

REMAP_EDGES: Final = 1 << 22
"""Edges renumbered at a time."""

NO_LABEL: Final = -1

SPOOLED_NAME: Final = "spooled"
COLUMNS: Final = (("tails", np.int32), ("heads", np.int32), ("costs", np.float64))
"""Files of the edges, and what is in them."""

LABELS: Final = ("domains", "regions")


@dataclass(frozen=True, slots=True)
class SpooledGraph:
    """The rows as arrays: m directed edges over n nodes, whose numbers follow the order of their declaration.

    `tails`, `heads` int32[m] and `costs` float64[m] are mapped files; `domains`, `regions` are codes int32[n] (-1 for
    none) and names. `implied` is how many nodes, the last ones, no row of nodes declared.
    """

    ids: NodeIds
    implied: int
    tails: Int32Array
    heads: Int32Array
    costs: Float64Array
    domains: tuple[Int32Array, list[str]]
    regions: tuple[Int32Array, list[str]]

    @property
    def node_count(self) -> int:
        """Number of nodes."""
        return len(self.ids)

    def save(self, folder: Path) -> None:
        """Write what is not in files yet into the spool's folder, so that another process may open the graph."""
        arrays: dict[str, npt.NDArray[Any]] = {f"ids.{name}": array for name, array in self.ids.arrays().items()}
        for kind, (codes, label_names) in zip(LABELS, (self.domains, self.regions), strict=True):
            arrays[kind] = codes
            arrays |= {f"{kind}.{name}": array for name, array in encode_strings(label_names).items()}
        arrays["implied"] = np.array([self.implied], np.int64)
        write_array_file(folder / SPOOLED_NAME, arrays)

    @classmethod
    def open(cls, folder: Path) -> SpooledGraph:
        """Map a graph that was saved."""
        file = open_array_file(folder / SPOOLED_NAME)
        tails, heads, costs = (_mapped(folder / name, dtype) for name, dtype in COLUMNS)
        domains, regions = ((file.array(kind), decode_strings(file.prefixed(f"{kind}."))) for kind in LABELS)
        return cls(
            ids=NodeIds.from_arrays(file.prefixed("ids.")),
            implied=int(file.array("implied")[0]),
            tails=tails,
            heads=heads,
            costs=costs,
            domains=domains,
            regions=regions,
        )

    def implied_rows(self) -> Iterator[NodeRows]:
        """Return the rows that declare the implied nodes, for the store."""
        for start in range(self.node_count - self.implied, self.node_count, ROWS_PER_BATCH):
            stop = min(start + ROWS_PER_BATCH, self.node_count)
            ids = self.ids.names(np.arange(start, stop, dtype=np.int32))
            yield NodeRows(ids, [""] * len(ids), [""] * len(ids))


@dataclass(frozen=True, slots=True)
class _NewEnds:
    """A batch of edges that named nodes not seen before: numbers `first` to `stop`, edges from `edge` on."""

    first: int
    stop: int
    edge: int
    rows: int
    origin: Origin


class _Labels:
    """Domains or regions as codes, a row a declared node."""

    def __init__(self) -> None:
        self._names = NodeIdsBuilder()
        self._codes: list[Int32Array] = []

    def add(self, labels: Sequence[str], rows: int) -> None:
        codes = np.full(rows, NO_LABEL, np.int32)
        present = [row for row, label in enumerate(labels) if label]
        if len(present) == rows and rows:
            codes[:] = self._names.number(pack(labels))
        elif present:
            codes[present] = self._names.number(pack([labels[row] for row in present]))
        self._codes.append(codes)

    def finish(self) -> tuple[Int32Array, list[str]]:
        codes = np.concatenate(self._codes) if self._codes else np.zeros(0, np.int32)
        count = len(self._names)
        return codes, self._names.finish().names(np.arange(count, dtype=np.int32))


class _ColumnFile:
    """An array that grows in a file."""

    def __init__(self, path: Path, dtype: npt.DTypeLike) -> None:
        self._path = path
        self._dtype = np.dtype(dtype)
        self._file: BinaryIO = path.open("wb")

    def append(self, values: npt.NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(values, self._dtype).data)

    def close(self) -> None:
        self._file.close()

    def mapped(self) -> npt.NDArray[Any]:
        """Return the whole array, writable in place."""
        self._file.close()
        return _mapped(self._path, self._dtype)


class GraphSpool:
    """Takes batches of one load; calls come from one thread at a time.

    What breaks a rule raises InvalidGraph with its place, and the spool is of no more use then.
    """

    def __init__(self, folder: Path, *, undirected: bool, implicit_nodes: bool) -> None:
        self._undirected = undirected
        self._implicit_nodes = implicit_nodes
        self._ids = NodeIdsBuilder()
        self._declared: BoolArray = np.zeros(ROWS_PER_BATCH, np.bool_)
        self._order: list[Int32Array] = []
        self._domains = _Labels()
        self._regions = _Labels()
        self._new_ends: list[_NewEnds] = []
        self._tails, self._heads, self._costs = (_ColumnFile(folder / name, dtype) for name, dtype in COLUMNS)
        self._edges = 0
        self.rows = 0

    def add_nodes(self, origin: Origin, ids: list[str], domains: list[str], regions: list[str]) -> NodeRows:
        """Declare nodes; empty `domains` or `regions` means none has one. Returns the rows for the store."""
        _check_batch(len(ids))
        packed = pack(ids)
        check_node_rows(origin, ids, domains or None, regions or None, packed=packed)
        numbers = self._ids.number(packed)
        self._declare(origin, ids, numbers)
        self._domains.add(domains, len(ids))
        self._regions.add(regions, len(ids))
        self.rows += len(ids)
        none = [""] * len(ids)
        return NodeRows(ids, domains or none, regions or none)

    def add_edges(self, origin: Origin, sources: list[str], targets: list[str], costs: Float64Array | None) -> EdgeRows:
        """Add edges; no `costs` means 1 each. Returns the rows for the store, as given."""
        _check_batch(len(sources))
        packed = pack(sources), pack(targets)
        checked = check_edge_rows(origin, sources, targets, costs, packed=packed)
        cost = np.ones(len(sources)) if checked is None else checked
        count = len(sources) * (2 if self._undirected else 1)
        if self._edges + count > EDGES_MAX:
            raise LimitExceeded(f"expected at most {EDGES_MAX} directed edges, got more", bound="EDGES_MAX")
        known = len(self._ids)
        tails, heads = self._ids.number(packed[0]), self._ids.number(packed[1])
        if len(self._ids) > known:
            self._new_ends.append(_NewEnds(known, len(self._ids), self._edges, len(sources), origin))
        self._append(tails, heads, cost)
        if self._undirected:
            self._append(heads, tails, cost)
        self.rows += len(sources)
        return EdgeRows(sources, targets, cost)

    def finish(self) -> SpooledGraph:
        """Return the arrays. Raises InvalidGraph when an edge names a node that no row declared, or without nodes."""
        implied = self._undeclared()
        if len(implied) and not self._implicit_nodes:
            raise self._unknown_end(implied)
        if len(self._ids) == 0:
            raise InvalidGraph("expected at least one node, got none")
        order = np.concatenate([*self._order, implied]).astype(np.int32)
        none = [""] * len(implied)
        self._domains.add(none, len(implied))
        self._regions.add(none, len(implied))
        ids = self._ids.finish()
        tails, heads = self._tails.mapped(), self._heads.mapped()
        if not np.array_equal(order, np.arange(len(order), dtype=np.int32)):
            number = np.empty(len(order), np.int32)
            number[order] = np.arange(len(order), dtype=np.int32)
            ids = ids.permuted(order)
            for ends in (tails, heads):
                for start in range(0, len(ends), REMAP_EDGES):
                    ends[start : start + REMAP_EDGES] = number[ends[start : start + REMAP_EDGES]]
        return SpooledGraph(
            ids=ids,
            implied=len(implied),
            tails=tails,
            heads=heads,
            costs=self._costs.mapped(),
            domains=self._domains.finish(),
            regions=self._regions.finish(),
        )

    def close(self) -> None:
        """Close the files."""
        for column in (self._tails, self._heads, self._costs):
            column.close()

    def _declare(self, origin: Origin, ids: Sequence[str], numbers: Int32Array) -> None:
        if len(self._ids) > len(self._declared):
            grown: BoolArray = np.zeros(max(len(self._ids), 2 * len(self._declared)), np.bool_)
            grown[: len(self._declared)] = self._declared
            self._declared = grown
        again = self._declared[numbers]
        first_rows = np.unique(numbers, return_index=True)[1]
        if len(first_rows) < len(numbers):
            repeated: BoolArray = np.ones(len(numbers), np.bool_)
            repeated[first_rows] = False
            again |= repeated
        if again.any():
            row = int(np.argmax(again))
            raise InvalidGraph(
                f"expected each node once, got {shown(ids[row])} again",
                source=origin.source,
                record=origin.record(row),
                field="id",
            )
        self._declared[numbers] = True
        self._order.append(numbers)

    def _undeclared(self) -> Int32Array:
        declared = self._declared[: len(self._ids)]
        missing = np.flatnonzero(~declared)
        beyond = np.arange(len(declared), len(self._ids))
        return np.concatenate([missing, beyond]).astype(np.int32)

    def _unknown_end(self, unknown: Int32Array) -> InvalidGraph:
        """Return the error for the first row with an end that no row declared; `unknown` are those, ascending.

        Numbers grow batch by batch, but not within one: there the rows are looked at.
        """
        batch = next(one for one in self._new_ends if one.first <= unknown[0] < one.stop)
        rows = slice(batch.edge, batch.edge + batch.rows)
        tails, heads = self._tails.mapped()[rows], self._heads.mapped()[rows]
        is_tail, is_head = np.isin(tails, unknown), np.isin(heads, unknown)
        row = int(np.argmax(is_tail | is_head))
        name = self._ids.finish().name(int(tails[row] if is_tail[row] else heads[row]))
        return InvalidGraph(
            f"expected a node of the graph, got {shown(name)}, which no row of nodes declares",
            source=batch.origin.source,
            record=batch.origin.record(row),
            field="source" if is_tail[row] else "target",
            node=name,
        )

    def _append(self, tails: Int32Array, heads: Int32Array, costs: Float64Array) -> None:
        self._tails.append(tails)
        self._heads.append(heads)
        self._costs.append(costs)
        self._edges += len(tails)


def _check_batch(rows: int) -> None:
    if rows > BATCH_ROWS_MAX:
        raise InvalidRequest(f"expected at most {BATCH_ROWS_MAX} rows in a batch, got {rows}", bound="BATCH_ROWS_MAX")


def _mapped(path: Path, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    if path.stat().st_size == 0:
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, "r+")
