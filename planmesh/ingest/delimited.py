"""Reads CSV and TSV files as a stream, and reports the exact line of every error.

Fields are separated by commas or tabs. A field that begins with `"` is quoted (RFC 4180). Lines end in LF or CR LF. A
UTF-8 byte order mark and empty lines are skipped. The first line names the columns.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from planmesh.errors import InvalidGraph
from planmesh.graph.model import Float64Array, UInt8Array
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.graph.rules import Origin, shown
from planmesh.ingest import delimited_kernels as kernels
from planmesh.ingest.graph_source import ROWS_PER_BATCH_MAX, Columns
from planmesh.ingest.input_file import InputFile

ROW_BYTES_MAX: Final = 1 << 20
"""Most bytes of a row: far more than any graph needs, and small enough to hold in memory."""

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
LINE_FEED: Final = b"\n"
NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Rows of the requested columns: `texts` by field name; the first row is on line `first`."""

    first: int
    texts: dict[str, list[str]]


def read_edges(file: InputFile, delimiter: str, columns: Columns) -> Iterator[EdgeRows]:
    """Yield the rows of an edge file; `cost` may be missing unless the user named it."""
    wanted = {"source": columns.source, "target": columns.target, "cost": columns.cost}
    for batch in read_texts(file, delimiter, wanted, {"cost"} - columns.explicit):
        sources, targets = batch.texts["source"], batch.texts["target"]
        origin = Origin(file.name, "line", batch.first)
        costs = None
        if "cost" in batch.texts:
            costs = parse_costs(batch.texts["cost"], origin, columns.cost)
        yield columns.checked_edges(origin, sources, targets, costs)


def read_nodes(file: InputFile, delimiter: str, columns: Columns) -> Iterator[NodeRows]:
    """Yield the rows of a node file; `domain` and `region` may be missing unless the user named them."""
    wanted = {"id": columns.id, "domain": columns.domain, "region": columns.region}
    for batch in read_texts(file, delimiter, wanted, {"domain", "region"} - columns.explicit):
        texts = batch.texts
        origin = Origin(file.name, "line", batch.first)
        yield columns.checked_nodes(origin, texts["id"], texts.get("domain"), texts.get("region"))


def parse_costs(texts: Sequence[str], origin: Origin, field: str) -> Float64Array:
    """Return texts as float64[m]. Raises InvalidGraph at the first that is not a number."""
    try:
        parsed = pc.cast(pa.array(texts, pa.string()), pa.float64())
    except pa.ArrowInvalid:
        for row, text in enumerate(texts):
            if not NUMBER.fullmatch(text.strip(" ")):
                raise InvalidGraph(
                    f"expected a number, got {shown(text)}",
                    source=origin.source,
                    record=origin.record(row),
                    field=field,
                ) from None
        return np.asarray([float(text) for text in texts], np.float64)
    costs: Float64Array = parsed.to_numpy(zero_copy_only=False)
    return costs


def find_columns(
    header: Sequence[str], wanted: dict[str, str], optional: set[str] | frozenset[str], source: str, record: str
) -> dict[str, int]:
    """Return the position of each wanted field in the header. Raises InvalidGraph for a missing or repeated column."""
    found = {}
    for field, name in wanted.items():
        places = [place for place, column in enumerate(header) if column == name]
        if len(places) > 1:
            raise InvalidGraph(
                f"expected one column {name!r}, got {len(places)}", source=source, record=record, field=name
            )
        if places:
            found[field] = places[0]
        elif field not in optional:
            raise InvalidGraph(
                f"expected a column {name!r} for the {field} (--{field}-column names another); "
                f"the columns are {', '.join(map(repr, header))}",
                source=source,
                record=record,
                field=name,
            )
    return found


def read_texts(
    file: InputFile, delimiter: str, wanted: dict[str, str], optional: set[str] | frozenset[str]
) -> Iterator[TextBatch]:
    """Yield the columns `wanted` (field name to column name) as texts; those in `optional` may be missing."""
    data, line = _read_first_line(file)
    if not data:
        raise InvalidGraph(
            "expected a line that names the columns, got an empty file", source=file.name, record="line 1"
        )
    first_line, _, data = data.partition(LINE_FEED)
    header = _parse_header(first_line, delimiter, file.name, f"line {line}")
    found = find_columns(header, wanted, optional, file.name, f"line {line}")
    yield from _Scanner(file, delimiter, header, found, {field: wanted[field] for field in found}).scan(data, line + 1)


def _read_first_line(file: InputFile) -> tuple[bytes, int]:
    """Return the file's first block, at least up to the end of its first non-empty line, and that line's number."""
    data, line = file.read(record="line 1").removeprefix(BYTE_ORDER_MARK), 1
    while True:
        stripped = data.lstrip(b"\r\n")
        line += data[: len(data) - len(stripped)].count(LINE_FEED)
        data = stripped
        if LINE_FEED in data:
            return data, line
        if len(data) > ROW_BYTES_MAX:
            raise _row_too_long(file, line)
        block = file.read(record=f"line {line}")
        if not block:
            return data, line
        data += block


def _parse_header(first_line: bytes, delimiter: str, source: str, record: str) -> list[str]:
    try:
        text = first_line.decode("utf-8").rstrip("\r")
        header = next(csv.reader([text], delimiter=delimiter, strict=True), [])
    except UnicodeDecodeError as error:
        raise InvalidGraph(f"expected UTF-8: {_why(error)}", source=source, record=record) from error
    except csv.Error as error:
        raise InvalidGraph(f"the header cannot be read: {error}", source=source, record=record) from error
    return [name.strip() for name in header]


def _why(error: UnicodeDecodeError) -> str:
    return f"byte 0x{error.object[error.start]:02x} is invalid here"


def _row_too_long(file: InputFile, line: int) -> InvalidGraph:
    return InvalidGraph(
        f"expected a row of at most {ROW_BYTES_MAX:,} bytes; is a quote unclosed?",
        source=file.name,
        record=f"line {line}",
    )


class _Scanner:
    """Turns the blocks of a file into batches."""

    def __init__(
        self, file: InputFile, delimiter: str, header: Sequence[str], found: dict[str, int], names: dict[str, str]
    ) -> None:
        self._file = file
        self._delimiter = ord(delimiter)
        self._header = header
        self._fields = list(found)
        self._names = names
        self._slot_of_column = np.full(len(header), -1, np.int64)
        for slot, place in enumerate(found.values()):
            self._slot_of_column[place] = slot
        self._result = np.zeros(kernels.RESULTS, np.int64)
        self._sizes = np.zeros(len(found), np.int64)

    def scan(self, data: bytes, line: int) -> Iterator[TextBatch]:
        """Yield the rows of `data`, whose first is on `line`, and of the rest of the file."""
        at_end = False
        while not at_end:
            block = self._file.read(record=f"line {line}")
            at_end = not block
            data += block
            if at_end and data and not data.endswith(LINE_FEED):
                data += LINE_FEED
            array = np.frombuffer(data, np.uint8)
            columns = np.empty((len(self._fields), len(data)), np.uint8)
            position, rows = 0, -1
            while rows != 0:
                status = kernels.scan(
                    array,
                    position,
                    at_end,
                    line,
                    ROWS_PER_BATCH_MAX,
                    self._delimiter,
                    self._slot_of_column,
                    columns,
                    self._sizes,
                    self._result,
                )
                rows, position, line, first = self._result[: kernels.FIRST_LINE + 1].tolist()
                if rows:
                    yield TextBatch(first, self._decoded(columns, first))
                if status != kernels.SCANNED:
                    raise self._fault(status, line)
            data = data[position:]
            if len(data) > ROW_BYTES_MAX:
                raise _row_too_long(self._file, line)

    def _decoded(self, columns: UInt8Array, first: int) -> dict[str, list[str]]:
        texts = {}
        for slot, field in enumerate(self._fields):
            packed = columns[slot, : self._sizes[slot] - 1].tobytes()
            try:
                texts[field] = packed.decode("utf-8").split("\n")
            except UnicodeDecodeError as error:
                row = packed.count(LINE_FEED, 0, error.start)
                raise InvalidGraph(
                    f"expected UTF-8: {_why(error)}",
                    source=self._file.name,
                    record=f"line {first + row}",
                    field=self._names[field],
                ) from error
        return texts

    def _fault(self, status: int, line: int) -> InvalidGraph:
        detail, field = int(self._result[kernels.DETAIL]), ""
        if status == kernels.WRONG_COLUMN_COUNT:
            message = f"expected {len(self._header)} columns, as the first line has, got {detail}"
            if detail < len(self._header):
                field = self._header[detail]
        elif status == kernels.LINE_BREAK_IN_FIELD:
            field = self._names[self._fields[detail]]
            message = "expected no line break inside the field; is its quote closed?"
        elif status == kernels.UNTERMINATED_QUOTE:
            message = "a quote is opened and never closed"
        else:
            message = "expected a separator or the end of the line after a closing quote"
        return InvalidGraph(message, source=self._file.name, record=f"line {line}", field=field)
