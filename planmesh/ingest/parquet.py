"""Reads Parquet files as a stream of row groups; rows are counted from 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from planmesh.errors import InvalidGraph
from planmesh.graph.model import Float64Array
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.graph.rules import Origin
from planmesh.ingest.delimited import find_columns
from planmesh.ingest.graph_source import ROWS_PER_BATCH_MAX, Columns
from planmesh.ingest.input_file import InputFile


@dataclass(frozen=True, slots=True)
class _Table:
    """The columns of some rows; the first is row `first` of the file."""

    first: int
    columns: dict[str, pa.Array]


def read_edges(file: InputFile, columns: Columns) -> Iterator[EdgeRows]:
    """Yield the rows of an edge file; `cost` may be missing unless the user named it."""
    wanted = {"source": columns.source, "target": columns.target, "cost": columns.cost}
    for table in _read(file, wanted, {"cost"} - columns.explicit):
        sources = _texts(table, "source", columns.source, file.name, empty_allowed=False)
        targets = _texts(table, "target", columns.target, file.name, empty_allowed=False)
        costs = _numbers(table, "cost", columns.cost, file.name) if "cost" in table.columns else None
        origin = Origin(file.name, "row", table.first)
        yield columns.checked_edges(origin, sources, targets, costs)


def read_nodes(file: InputFile, columns: Columns) -> Iterator[NodeRows]:
    """Yield the rows of a node file; `domain` and `region` may be missing unless the user named them."""
    wanted = {"id": columns.id, "domain": columns.domain, "region": columns.region}
    for table in _read(file, wanted, {"domain", "region"} - columns.explicit):
        ids = _texts(table, "id", columns.id, file.name, empty_allowed=False)
        labels = {
            field: _texts(table, field, wanted[field], file.name, empty_allowed=True)
            for field in ("domain", "region")
            if field in table.columns
        }
        origin = Origin(file.name, "row", table.first)
        yield columns.checked_nodes(origin, ids, labels.get("domain"), labels.get("region"))


@contextmanager
def _naming(file: InputFile, record: str = "") -> Iterator[None]:
    """Turn Arrow's errors into InvalidGraph with the file's name."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise InvalidGraph(f"invalid Parquet file: {error}", source=file.name, record=record) from error


def _read(file: InputFile, wanted: dict[str, str], optional: set[str] | frozenset[str]) -> Iterator[_Table]:
    with _naming(file):
        parquet = pq.ParquetFile(file.path, memory_map=False)
    with parquet:
        names = parquet.schema_arrow.names
        found = find_columns(names, wanted, optional, file.name, "row 1")
        chosen = [names[place] for place in found.values()]
        first = 1
        batches = parquet.iter_batches(batch_size=ROWS_PER_BATCH_MAX, columns=chosen, use_threads=False)
        while True:
            with _naming(file, f"row {first}"):
                batch = next(batches, None)
            if batch is None:
                file.bytes_read = file.bytes_total
                return
            yield _Table(first, {field: batch.column(names[place]) for field, place in found.items()})
            first += batch.num_rows
            file.bytes_read = file.bytes_total * (first - 1) // max(parquet.metadata.num_rows, 1)


def _texts(table: _Table, field: str, name: str, source: str, *, empty_allowed: bool) -> list[str]:
    """Return a column of texts or whole numbers as texts; with `empty_allowed` a missing value is ""."""
    column = table.columns[field]
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_integer(column.type):
        column = pc.cast(column, pa.string())
    elif not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        if not (empty_allowed and pa.types.is_null(column.type)):
            raise InvalidGraph(
                f"expected a column of texts or whole numbers, got {column.type}",
                source=source,
                record=f"row {table.first}",
                field=name,
            )
        column = pc.cast(column, pa.string())
    if column.null_count:
        if not empty_allowed:
            _refuse_null(table, column, name, source)
        column = pc.fill_null(column, "")
    texts: list[str] = column.to_pylist()
    return texts


def _numbers(table: _Table, field: str, name: str, source: str) -> Float64Array:
    column = table.columns[field]
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise InvalidGraph(
            f"expected a column of numbers, got {kind}", source=source, record=f"row {table.first}", field=name
        )
    if column.null_count:
        _refuse_null(table, column, name, source)
    numbers: Float64Array = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numbers


def _refuse_null(table: _Table, column: pa.Array, name: str, source: str) -> None:
    row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
    raise InvalidGraph("expected a value, got none", source=source, record=f"row {table.first + row}", field=name)
