"""Pairs of start and goal, read from a file. Needs no numpy, so that `planmesh plan --pairs` runs without it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from planmesh.errors import InvalidRequest

Pair = tuple[str, str]

LINE_BYTES_MAX: Final = 2_048
"""Two ids of 512 bytes, a tab, and room; a longer line is some other file."""


def read_pairs(lines: Iterable[str], source: str) -> Iterator[Pair]:
    """Pairs from tab-separated lines; empty lines are passed over.

    Raises InvalidRequest, naming the line, when one has not two fields.
    """
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        if not text:
            continue
        fields = text.split("\t")
        if len(fields) != 2 or not all(fields) or len(text) > LINE_BYTES_MAX:
            raise InvalidRequest(
                f"{source}, line {number}: expected START, a tab and GOAL, got {text[:80]!r}",
                source=source,
                record=f"line {number}",
            )
        yield fields[0], fields[1]
