"""Splits delimited text (RFC 4180, also with other delimiters) into columns, a block of bytes at a time."""

from __future__ import annotations

from typing import Final

from planmesh.graph.model import Int64Array, UInt8Array
from planmesh.kernels import kernel

LINE_FEED: Final = 10
CARRIAGE_RETURN: Final = 13
QUOTE: Final = 34

SCANNED: Final = 0
"""All requested rows were read, or all complete ones, or all up to a gap in the line numbers."""

WRONG_COLUMN_COUNT: Final = 1
TEXT_AFTER_QUOTE: Final = 2
LINE_BREAK_IN_FIELD: Final = 3
UNTERMINATED_QUOTE: Final = 4
INCOMPLETE: Final = 5

# Positions of what `scan` writes into its last argument.
ROWS: Final = 0
POSITION: Final = 1
LINE: Final = 2
FIRST_LINE: Final = 3
DETAIL: Final = 4
RESULTS: Final = 5


@kernel
def _scan_plain(
    data: UInt8Array, position: int, stop: int, delimiter: int, fields: UInt8Array, slot: int, size: int
) -> tuple[int, int, int]:
    """Copy an unquoted field; return the position of its separator, the new size of the slot, and a status."""
    start = position
    while position < stop and data[position] != delimiter and data[position] != LINE_FEED:
        position += 1
    if position >= stop:
        return position, size, INCOMPLETE
    if slot >= 0:
        end = position
        if data[position] == LINE_FEED and end > start and data[end - 1] == CARRIAGE_RETURN:
            end -= 1
        for i in range(end - start):
            fields[slot, size + i] = data[start + i]
        size += end - start
    return position, size, SCANNED


@kernel
def _scan_quoted(  # noqa: PLR0911 - a state machine
    data: UInt8Array, position: int, stop: int, delimiter: int, fields: UInt8Array, slot: int, size: int
) -> tuple[int, int, int, int]:
    """Copy a quoted field; return what `_scan_plain` returns, and the line breaks in the field."""
    position += 1
    line_breaks = 0
    while True:
        if position >= stop:
            return position, size, INCOMPLETE, line_breaks
        byte = data[position]
        if byte == QUOTE:
            if position + 1 >= stop:
                return position, size, INCOMPLETE, line_breaks
            position += 1
            if data[position] != QUOTE:
                break
        if byte == LINE_FEED:
            line_breaks += 1
            if slot >= 0:
                return position, size, LINE_BREAK_IN_FIELD, line_breaks
        if slot >= 0:
            fields[slot, size] = byte
            size += 1
        position += 1
    if data[position] == CARRIAGE_RETURN:
        position += 1
        if position >= stop:
            return position, size, INCOMPLETE, line_breaks
        if data[position] != LINE_FEED:
            return position, size, TEXT_AFTER_QUOTE, line_breaks
    if data[position] != LINE_FEED and data[position] != delimiter:
        return position, size, TEXT_AFTER_QUOTE, line_breaks
    return position, size, SCANNED, line_breaks


@kernel
def _scan_row(
    data: UInt8Array,
    position: int,
    stop: int,
    delimiter: int,
    slot_of_column: Int64Array,
    fields: UInt8Array,
    fields_size: Int64Array,
    result: Int64Array,
) -> tuple[int, int, int]:
    """Read a row; return the position after it, a status, and the lines that it spans."""
    columns, column, lines, in_quotes = len(slot_of_column), 0, 1, False
    while True:
        slot = slot_of_column[column] if column < columns else -1
        size = fields_size[slot] if slot >= 0 else 0
        in_quotes = position < stop and data[position] == QUOTE
        if in_quotes:
            position, size, status, breaks = _scan_quoted(data, position, stop, delimiter, fields, slot, size)
            lines += breaks
        else:
            position, size, status = _scan_plain(data, position, stop, delimiter, fields, slot, size)
        if status != SCANNED:
            result[DETAIL] = slot
            return position, UNTERMINATED_QUOTE if status == INCOMPLETE and in_quotes else status, lines
        if slot >= 0:
            fields[slot, size] = LINE_FEED
            fields_size[slot] = size + 1
        column += 1
        position += 1
        if data[position - 1] == LINE_FEED:
            break
    result[DETAIL] = column
    return position, SCANNED if column == columns else WRONG_COLUMN_COUNT, lines


@kernel
def scan(
    data: UInt8Array,
    position: int,
    at_end: bool,
    line: int,
    rows_max: int,
    delimiter: int,
    slot_of_column: Int64Array,
    fields: UInt8Array,
    fields_size: Int64Array,
    result: Int64Array,
) -> int:
    """Read complete rows from `position` of `data` on, the first of them on `line`; return a status.

    The fields of column c go to `fields[slot_of_column[c]]`, uint8[slots, at least len(data)], each followed by a line
    feed, unless the slot is -1; `fields_size` receives the bytes written. `result` receives the number of rows, the
    position after them, the line there, and the line of the first row. The rows are on consecutive lines: a row that
    spans lines is the last one, and empty lines are skipped only before the first. With `at_end`, `data` ends in a
    line feed. On any status but SCANNED, `result[LINE]` is the line of the bad row, and `result[DETAIL]` its number of
    columns or its slot.
    """
    fields_size[:] = 0
    before = fields_size.copy()
    stop, rows, first_line, outcome = len(data), 0, line, SCANNED
    while rows < rows_max and position < stop:
        byte = data[position]
        if byte == LINE_FEED or (byte == CARRIAGE_RETURN and position + 1 < stop and data[position + 1] == LINE_FEED):
            if rows > 0:
                break
            position += 1 if byte == LINE_FEED else 2
            line += 1
            first_line = line
            continue
        before[:] = fields_size
        after, status, lines = _scan_row(data, position, stop, delimiter, slot_of_column, fields, fields_size, result)
        if status != SCANNED:
            fields_size[:] = before
            if at_end or (status != INCOMPLETE and status != UNTERMINATED_QUOTE):  # noqa: PLR1714 - numba
                outcome = status
            break
        position = after
        rows += 1
        line += lines
        if lines > 1:
            break
    result[ROWS], result[POSITION], result[LINE], result[FIRST_LINE] = rows, position, line, first_line
    return outcome
