"""Reads files of the 9th DIMACS challenge: edges ("arcs") from `.gr`, nodes from `.co`, whose coordinates are ignored.

A line of a `.gr` file is `c ...` (a comment), `p sp NODES ARCS`, or `a TAIL HEAD COST`; of a `.co` file `c ...`,
`p aux sp co NODES`, or `v NODE X Y`. Nodes are numbers from 1 (http://www.diag.uniroma1.it/challenge9/format.shtml).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.errors import InvalidGraph
from planmesh.graph.model import NODES_MAX, Float64Array, Int64Array, UInt8Array
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.graph.rules import Origin, check_edge_rows, shown
from planmesh.ingest.delimited import NUMBER
from planmesh.ingest.graph_source import ROWS_PER_BATCH_MAX
from planmesh.ingest.input_file import InputFile
from planmesh.kernels import kernel

LINE_BYTES_MAX: Final = 1 << 16
"""Most bytes of a line; a longer one is not DIMACS."""

ARC_NUMBERS: Final = 3
VERTEX_NUMBERS: Final = 1
_DIGITS_MAX: Final = 15
_LINE_FEED: Final = 10
_CARRIAGE_RETURN: Final = 13
_SPACE: Final = 32
_ZERO: Final = 48


@kernel
def scan_lines(
    data: UInt8Array, position: int, letter: int, wanted: int, rest_allowed: bool, values: Int64Array
) -> tuple[int, int]:
    """Read lines of `letter` and `wanted` whole numbers, at most len(values); return their number and the end position.

    It stops at the first line of another form, or an incomplete one. `values` is int64[rows, wanted]. With
    `rest_allowed`, more may follow the numbers on the line.
    """
    rows = 0
    stop = len(data)
    while rows < len(values):
        place = position
        if place >= stop or data[place] != letter:
            break
        place += 1
        number = 0
        while number < wanted:
            gap = place
            while place < stop and data[place] == _SPACE:
                place += 1
            digits = place
            value = np.int64(0)
            while place < stop and data[place] >= _ZERO and data[place] < _ZERO + 10 and place - digits < _DIGITS_MAX:
                value = value * 10 + np.int64(data[place] - _ZERO)
                place += 1
            if place == digits or digits == gap:  # noqa: PLR1714 - numba
                break
            values[rows, number] = value
            number += 1
        if number < wanted or (rest_allowed and place < stop and data[place] > _SPACE):
            break
        while place < stop and (data[place] == _SPACE or data[place] == _CARRIAGE_RETURN or rest_allowed):
            if data[place] == _LINE_FEED:
                break
            place += 1
        if place >= stop or data[place] != _LINE_FEED:
            break
        position = place + 1
        rows += 1
    return rows, position


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines from `first` on: numbers that were read together, int64[k, wanted], or the words of one irregular line."""

    first: int
    values: Int64Array
    words: Sequence[str]


def _read_lines(file: InputFile, letter: str, wanted: int, *, rest_allowed: bool) -> Iterator[_Lines]:
    data, line, at_end = b"", 1, False
    none = np.zeros((0, wanted), np.int64)
    while not at_end:
        block = file.read(record=f"line {line}")
        at_end = not block
        data += block if block or data.endswith(b"\n") or not data else b"\n"
        array = np.frombuffer(data, np.uint8)
        position = 0
        while True:
            values = np.empty((ROWS_PER_BATCH_MAX, wanted), np.int64)
            rows, position = scan_lines(array, position, ord(letter), wanted, rest_allowed, values)
            if rows:
                yield _Lines(line, values[:rows], ())
                line += rows
                continue
            line_end = data.find(b"\n", position)
            if line_end < 0:
                break
            text = data[position:line_end].decode("utf-8", "replace").rstrip("\r")
            if text.strip() and not text.startswith("c"):
                yield _Lines(line, none, text.split())
            position, line = line_end + 1, line + 1
        data = data[position:]
        if len(data) > LINE_BYTES_MAX:
            raise InvalidGraph(
                f"expected lines of at most {LINE_BYTES_MAX:,} bytes", source=file.name, record=f"line {line}"
            )


def read_arcs(file: InputFile) -> Iterator[EdgeRows]:
    """Yield the edges of a `.gr` file. Raises InvalidGraph when they contradict the counts in its `p` line."""
    nodes, stated, arcs, line = -1, 0, 0, 0
    for lines in _read_lines(file, "a", ARC_NUMBERS, rest_allowed=False):
        line = lines.first
        origin = Origin(file.name, "line", line)
        if lines.words and lines.words[0] == "p":
            nodes, stated = _read_problem(lines.words, ("p", "sp"), 2, origin, seen=nodes >= 0)
            continue
        if nodes < 0:
            raise InvalidGraph(
                "expected `p sp NODES ARCS` before the first arc", source=file.name, record=origin.record(0)
            )
        ends, costs = (lines.values[:, :2], lines.values[:, 2].astype(np.float64))
        if lines.words:
            ends, costs = _read_odd_arc(lines.words, origin)
        _check_range(ends, nodes, origin)
        sources, targets = [list(map(str, ends[:, side].tolist())) for side in range(2)]
        checked = check_edge_rows(origin, sources, targets, costs)
        arcs += len(sources)
        yield EdgeRows.filled(sources, targets, checked, origin)
    if nodes < 0:
        raise InvalidGraph("expected a line `p sp NODES ARCS`, got none", source=file.name, record="line 1")
    if arcs != stated:
        raise InvalidGraph(f"expected {stated:,} arcs, as its `p` line states, got {arcs:,}", source=file.name)


def read_vertices(file: InputFile) -> Iterator[NodeRows]:
    """Yield the nodes of a `.co` file. Raises InvalidGraph when they contradict the count in its `p` line."""
    stated, nodes = -1, 0
    for lines in _read_lines(file, "v", VERTEX_NUMBERS, rest_allowed=True):
        origin = Origin(file.name, "line", lines.first)
        if lines.words and lines.words[0] == "p":
            (stated,) = _read_problem(lines.words, ("p", "aux", "sp", "co"), 1, origin, seen=stated >= 0)
            continue
        if lines.words:
            raise InvalidGraph(
                f"expected `v NODE X Y`, got {shown(' '.join(lines.words))}", source=file.name, record=origin.record(0)
            )
        if stated < 0:
            raise InvalidGraph(
                "expected `p aux sp co NODES` before the first node", source=file.name, record=origin.record(0)
            )
        _check_range(lines.values, stated, origin)
        nodes += len(lines.values)
        yield NodeRows.filled(list(map(str, lines.values[:, 0].tolist())), origin=origin)
    if stated < 0:
        raise InvalidGraph("expected a line `p aux sp co NODES`, got none", source=file.name, record="line 1")
    if nodes != stated:
        raise InvalidGraph(f"expected {stated:,} nodes, as its `p` line states, got {nodes:,}", source=file.name)


def read_stated_nodes(file: InputFile) -> Iterator[NodeRows]:
    """Read only the `p` line of a `.gr` file, and yield the nodes that it states: 1 to NODES."""
    for lines in _read_lines(file, "a", ARC_NUMBERS, rest_allowed=False):
        origin = Origin(file.name, "line", lines.first)
        if not lines.words or lines.words[0] != "p":
            raise InvalidGraph(
                "expected `p sp NODES ARCS` before the first arc", source=file.name, record=origin.record(0)
            )
        nodes, _ = _read_problem(lines.words, ("p", "sp"), 2, origin, seen=False)
        for first in range(1, nodes + 1, ROWS_PER_BATCH_MAX):
            last = min(nodes, first + ROWS_PER_BATCH_MAX - 1)
            ids = list(map(str, range(first, last + 1)))
            yield NodeRows.filled(ids, origin=Origin(file.name, "record", first))
        return
    raise InvalidGraph("expected a line `p sp NODES ARCS`, got none", source=file.name, record="line 1")


def _read_problem(
    words: Sequence[str], prefix: tuple[str, ...], numbers: int, origin: Origin, *, seen: bool
) -> tuple[int, ...]:
    counts = words[len(prefix) :]
    sound = tuple(words[: len(prefix)]) == prefix and len(counts) == numbers
    if not sound or not all(count.isascii() and count.isdigit() and len(count) <= _DIGITS_MAX for count in counts):
        raise InvalidGraph(
            f"expected `{' '.join(prefix)}` and {numbers} counts, got {shown(' '.join(words))}",
            source=origin.source,
            record=origin.record(0),
        )
    if seen:
        raise InvalidGraph("expected one `p` line, got another", source=origin.source, record=origin.record(0))
    if int(counts[0]) > NODES_MAX:
        raise InvalidGraph(
            f"expected at most {NODES_MAX} nodes, got {counts[0]}", source=origin.source, record=origin.record(0)
        )
    return tuple(map(int, counts))


def _read_odd_arc(words: Sequence[str], origin: Origin) -> tuple[Int64Array, Float64Array]:
    """Read an edge that is not of plain whole numbers: its cost may have a sign or a fraction."""
    sound = len(words) == ARC_NUMBERS + 1 and words[0] == "a" and NUMBER.fullmatch(words[3])
    if not sound or not all(end.isascii() and end.isdigit() and len(end) <= _DIGITS_MAX for end in words[1:3]):
        raise InvalidGraph(
            f"expected `a TAIL HEAD COST`, got {shown(' '.join(words))}", source=origin.source, record=origin.record(0)
        )
    return np.asarray([[int(words[1]), int(words[2])]], np.int64), np.asarray([float(words[3])], np.float64)


def _check_range(numbers: Int64Array, nodes: int, origin: Origin) -> None:
    outside = ((numbers < 1) | (numbers > nodes)).any(axis=1)
    if outside.any():
        row = int(np.argmax(outside))
        bad = next(number for number in numbers[row].tolist() if not 1 <= number <= nodes)
        side = numbers[row].tolist().index(bad)
        field = ("source", "target")[side] if numbers.shape[1] > 1 else "id"
        raise InvalidGraph(
            f"expected a node from 1 to {nodes}, as the `p` line states, got {bad}",
            source=origin.source,
            record=origin.record(row),
            field=field,
        )
