"""Cuts rows into requests that a server accepts, by number of rows and by bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

REQUEST_BYTES: Final = 1_500
"""Bytes of a request besides its rows: step names, labels, the revision."""

NODE_BYTES: Final = 190
EDGE_BYTES: Final = 240
PAIR_BYTES: Final = 220
ID_BYTES: Final = 12
"""Bytes of a row besides its texts, as bytecode in GraphBinary: measured, plus a tenth."""


def cut(rows: Sequence[Any], row_bytes: int, rows_max: int, bytes_max: int) -> Iterator[Sequence[Any]]:
    """Yield batches of at most `rows_max` rows and about `bytes_max` bytes; a row that is larger gets its own batch."""
    room = bytes_max - REQUEST_BYTES
    first, size = 0, 0
    for place, row in enumerate(rows):
        length = row_bytes + _text_bytes(row)
        if place > first and (place - first == rows_max or size + length > room):
            yield rows[first:place]
            first, size = place, 0
        size += length
    if first < len(rows):
        yield rows[first:]


def _text_bytes(row: Any) -> int:
    if isinstance(row, str):
        return len(row.encode())
    return sum(len(value.encode()) for value in row if isinstance(value, str))
