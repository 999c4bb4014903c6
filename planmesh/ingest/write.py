"""Writes synthetic graphs block by block, without a Python object for each row: ten million nodes take a minute."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from planmesh.errors import InvalidRequest, LimitExceeded
from planmesh.graph.generate import FASTEST_LINE_FACTOR, EdgeBlock, GeneratedGraph
from planmesh.graph.model import Int64Array, UInt8Array
from planmesh.ingest.input_file import GZIP_SUFFIX, format_suffix
from planmesh.ingest.source import DELIMITERS
from planmesh.kernels import kernel

NODES_PER_BLOCK: Final = 1 << 17
"""Nodes of one block."""

JSON_NODES_MAX: Final = 200_000
"""Most nodes of a JSON file, which is built as a whole in memory."""

GZIP_LEVEL: Final = 4
"""Twice as fast as the default, with output a tenth larger."""

COST_UNITS: Final = FASTEST_LINE_FACTOR
"""Costs are whole multiples of 1 / COST_UNITS."""

_COST_BYTES_MAX: Final = 12
_ZERO: Final = ord("0")
_POINT: Final = ord(".")
_LINE_FEED: Final = ord("\n")


@dataclass(frozen=True, slots=True)
class WrittenGraph:
    """The number of edges, and the files that were written, the one with the edges first."""

    edges: int
    files: tuple[Path, ...]


def write_generated(graph: GeneratedGraph, out: Path) -> WrittenGraph:
    """Write a graph to `out` (.csv, .tsv, either with .gz, .parquet, or .json) and its nodes beside it.

    The nodes of edges.csv.gz go to edges.nodes.csv.gz; a .json file holds both. Files get their names when they are
    complete. Raises InvalidRequest for another suffix or a missing folder, LimitExceeded for JSON of more than
    200,000 nodes.
    """
    suffix = format_suffix(out)
    if not out.parent.is_dir():
        raise InvalidRequest(f"expected an existing folder, got {str(out.parent)!r}")
    if suffix == ".json":
        return _write_json(graph, out)
    nodes = nodes_path(out)
    if suffix in DELIMITERS:
        delimiter = ord(DELIMITERS[suffix])
        _write_delimited_nodes(graph, nodes, delimiter)
        return WrittenGraph(_write_delimited_edges(graph, out, delimiter), (out, nodes))
    if suffix == ".parquet" and not out.name.lower().endswith(GZIP_SUFFIX):
        _write_parquet_nodes(graph, nodes)
        return WrittenGraph(_write_parquet_edges(graph, out), (out, nodes))
    raise InvalidRequest(f"expected a file .csv, .tsv (also with .gz), .parquet or .json, got {out.name!r}")


def nodes_path(edges: Path) -> Path:
    """Return the path of the nodes beside a file of edges: a.nodes.csv.gz for a.csv.gz."""
    packed = edges.suffix if edges.name.lower().endswith(GZIP_SUFFIX) else ""
    bare = Path(edges.name.removesuffix(packed))
    return edges.with_name(f"{bare.stem}.nodes{bare.suffix}{packed}")


@contextmanager
def _written(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file, compressed if the name says so, and rename it when everything is written."""
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("wb") as raw:
            if path.name.lower().endswith(GZIP_SUFFIX):
                with gzip.GzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=raw, mtime=0) as packed:
                    yield cast("IO[bytes]", packed)
            else:
                yield raw
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _node_columns(graph: GeneratedGraph) -> Iterator[dict[str, UInt8Array]]:
    """Yield the columns of the nodes block by block: texts of equal length, uint8[k, width]."""
    for first in range(0, graph.nodes, NODES_PER_BLOCK):
        nodes = np.arange(first, min(graph.nodes, first + NODES_PER_BLOCK))
        columns = {"id": graph.ids.packed(nodes)}
        if graph.domain_nodes:
            columns["domain"] = graph.domain_names(nodes)
        if graph.region_nodes:
            columns["region"] = graph.region_names(nodes)
        yield columns


def _write_delimited_nodes(graph: GeneratedGraph, path: Path, delimiter: int) -> None:
    with _written(path) as file:
        for number, columns in enumerate(_node_columns(graph)):
            if number == 0:
                file.write(chr(delimiter).join(columns).encode() + b"\n")
            rows = len(columns["id"])
            cells: list[UInt8Array] = []
            for column in columns.values():
                cells += [column, np.full((rows, 1), delimiter, np.uint8)]
            cells[-1][:] = _LINE_FEED
            file.write(np.hstack(cells).tobytes())


def _write_delimited_edges(graph: GeneratedGraph, path: Path, delimiter: int) -> int:
    edges = 0
    with _written(path) as file:
        file.write(chr(delimiter).join(("source", "target", "cost")).encode() + b"\n")
        for block in graph.blocks():
            tails, heads = graph.ids.packed(block.tails), graph.ids.packed(block.heads)
            units = np.rint(block.costs * COST_UNITS).astype(np.int64)
            text = np.empty(len(units) * (2 * tails.shape[1] + _COST_BYTES_MAX), np.uint8)
            size = format_edges(tails, heads, units, delimiter, text)
            file.write(text[:size].tobytes())
            edges += len(units)
    return edges


@kernel
def format_edges(tails: UInt8Array, heads: UInt8Array, units: Int64Array, delimiter: int, text: UInt8Array) -> int:
    """Write lines of source, target and cost (`units` of 1 / COST_UNITS) into `text`; return the bytes written."""
    size = 0
    digits = np.empty(_COST_BYTES_MAX, np.uint8)
    for row in range(len(units)):
        for i in range(tails.shape[1]):
            text[size] = tails[row, i]
            size += 1
        text[size] = delimiter
        size += 1
        for i in range(heads.shape[1]):
            text[size] = heads[row, i]
            size += 1
        text[size] = delimiter
        size += 1
        whole, fraction = units[row] // COST_UNITS, units[row] % COST_UNITS
        count = 0
        while count == 0 or whole > 0:
            digits[count] = _ZERO + whole % 10
            whole //= 10
            count += 1
        for i in range(count - 1, -1, -1):
            text[size] = digits[i]
            size += 1
        if fraction > 0:
            text[size] = _POINT
            size += 1
        while fraction > 0:
            fraction *= 10
            text[size] = _ZERO + fraction // COST_UNITS
            fraction %= COST_UNITS
            size += 1
        text[size] = _LINE_FEED
        size += 1
    return size


def _texts(column: UInt8Array) -> pa.Array:
    """Return texts of equal length as an Arrow column that shares their bytes."""
    rows, width = column.shape
    offsets = np.arange(0, rows * width + 1, width, dtype=np.int32)
    return pa.Array.from_buffers(
        pa.string(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(column))]
    )


def _write_parquet_nodes(graph: GeneratedGraph, path: Path) -> None:
    names = ["id"] + ["domain"] * bool(graph.domain_nodes) + ["region"] * bool(graph.region_nodes)
    schema = pa.schema([(name, pa.string()) for name in names])
    with _written(path) as file, pq.ParquetWriter(file, schema) as writer:
        for columns in _node_columns(graph):
            writer.write_table(pa.table({name: _texts(column) for name, column in columns.items()}, schema=schema))


def _write_parquet_edges(graph: GeneratedGraph, path: Path) -> int:
    schema = pa.schema([("source", pa.string()), ("target", pa.string()), ("cost", pa.float64())])
    edges = 0
    with _written(path) as file, pq.ParquetWriter(file, schema) as writer:
        for block in graph.blocks():
            tails, heads = _texts(graph.ids.packed(block.tails)), _texts(graph.ids.packed(block.heads))
            costs = pa.array(block.costs)
            writer.write_table(pa.table({"source": tails, "target": heads, "cost": costs}, schema=schema))
            edges += len(block.costs)
    return edges


def _write_json(graph: GeneratedGraph, path: Path) -> WrittenGraph:
    if graph.nodes > JSON_NODES_MAX:
        raise LimitExceeded(
            f"expected at most {JSON_NODES_MAX:,} nodes for JSON, got {graph.nodes:,}: write .csv or .parquet",
            bound="JSON_NODES_MAX",
        )
    nodes: list[dict[str, Any]] = []
    for columns in _node_columns(graph):
        texts = [_strings(column) for column in columns.values()]
        nodes += [dict(zip(columns, values, strict=True)) for values in zip(*texts, strict=True)]
    block: EdgeBlock = graph.edges()
    ids = [node["id"] for node in nodes]
    edges = [
        {"source": ids[tail], "target": ids[head], "cost": int(cost) if cost.is_integer() else cost}
        for tail, head, cost in zip(block.tails.tolist(), block.heads.tolist(), block.costs.tolist(), strict=True)
    ]
    document = {"directed": True, "multigraph": True, "graph": {}, "nodes": nodes, "edges": edges}
    with _written(path) as file:
        file.write(orjson.dumps(document))
    return WrittenGraph(len(edges), (path,))


def _strings(column: UInt8Array) -> list[str]:
    width = column.shape[1]
    text = column.tobytes().decode("ascii")
    return [text[place : place + width] for place in range(0, len(text), width)]
