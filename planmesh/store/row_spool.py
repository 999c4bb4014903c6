"""Keeps the rows of a replacement in a local file until they are committed, so that memory use stays small."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import orjson
import xxhash

from planmesh.errors import InternalError
from planmesh.graph.rows import EdgeRows, NodeRows


class RowSpool:
    """Batches of rows in the order in which they were added, in unnamed files that disappear with the process."""

    def __init__(self) -> None:
        self._nodes: IO[bytes] = tempfile.TemporaryFile(prefix="planmesh-rows-")  # noqa: SIM115 - closed by `close`
        self._edges: IO[bytes] = tempfile.TemporaryFile(prefix="planmesh-rows-")  # noqa: SIM115 - closed by `close`
        self.node_count = 0
        self.edge_count = 0

    def add_nodes(self, rows: NodeRows) -> None:
        """Append a batch of nodes."""
        _write(self._nodes, [rows.ids, rows.domains, rows.regions])
        self.node_count += len(rows)

    def add_edges(self, rows: EdgeRows) -> None:
        """Append a batch of edges."""
        _write(self._edges, [rows.sources, rows.targets, rows.costs.tolist()])
        self.edge_count += len(rows)

    def nodes(self) -> Iterator[NodeRows]:
        """Yield the batches of nodes from the first on; may be called repeatedly."""
        for ids, domains, regions in _read(self._nodes):
            yield NodeRows(ids, domains, regions)

    def edges(self) -> Iterator[EdgeRows]:
        """Yield the batches of edges from the first on; may be called repeatedly."""
        for sources, targets, costs in _read(self._edges):
            yield EdgeRows(sources, targets, np.array(costs, np.float64))

    def find_unknown_end(self) -> str | None:
        """Return an end of an edge that is not a node, None when all ends are nodes.

        It compares 64-bit hashes, eight bytes a node. If two ids share a hash (a chance of one in 400,000 among ten
        million nodes), an unknown end can go unnoticed; the database then refuses it.
        """
        hashes = [_hashes(rows.ids) for rows in self.nodes()]
        known = np.sort(np.concatenate(hashes)) if hashes else np.zeros(0, np.uint64)
        for rows in self.edges():
            for ends in (rows.sources, rows.targets):
                wanted = _hashes(ends)
                places = np.searchsorted(known, wanted)
                missing = places == len(known)
                missing[~missing] = known[places[~missing]] != wanted[~missing]
                if missing.any():
                    return ends[int(np.argmax(missing))]
        return None

    def repeated_pairs(self) -> npt.NDArray[np.uint64]:
        """Return the sorted hashes of pairs that more than one row has; takes eight bytes an edge meanwhile.

        Two pairs with the same hash count as repeated; callers may treat a pair as repeated when it is not.
        """
        hashes = [pair_hashes(rows) for rows in self.edges()]
        ordered = np.sort(np.concatenate(hashes)) if hashes else np.zeros(0, np.uint64)
        return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])

    def close(self) -> None:
        """Close the files, which deletes all rows."""
        self._nodes.close()
        self._edges.close()


def pair_hashes(rows: EdgeRows) -> npt.NDArray[np.uint64]:
    """Return the hashes of the pairs of source and target, uint64[m]."""
    ends = zip(rows.sources, rows.targets, strict=True)
    return np.array([xxhash.xxh3_64_intdigest(orjson.dumps(pair)) for pair in ends], np.uint64)


def _hashes(ids: list[str]) -> npt.NDArray[np.uint64]:
    return np.array([xxhash.xxh3_64_intdigest(node.encode()) for node in ids], np.uint64)


def _write(file: IO[bytes], columns: list[Any]) -> None:
    file.seek(0, 2)
    file.write(orjson.dumps(columns))
    file.write(b"\n")


def _read(file: IO[bytes]) -> Iterator[Any]:
    file.flush()
    place = 0
    while True:
        file.seek(place)
        line = file.readline()
        if not line:
            return
        if not line.endswith(b"\n"):
            raise InternalError("a batch of rows in the spool file is truncated")
        place = file.tell()
        yield orjson.loads(line)
