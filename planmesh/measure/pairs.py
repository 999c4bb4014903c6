"""Pairs of start and goal, drawn at random or read from a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from planmesh.errors import InvalidRequest

Pair = tuple[str, str]

LINE_BYTES_MAX: Final = 2_048
"""Two ids of 512 bytes, a tab, and room to spare. A longer line shows that this is not a file of pairs."""


def read_pairs(lines: Iterable[str], source: str) -> Iterator[Pair]:
    """Yield the pairs of tab-separated lines, skipping empty lines.

    Raises InvalidRequest, with the line's number, for a line without exactly two fields.
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


def random_pairs(ids: Sequence[str], count: int, seed: int) -> list[Pair]:
    """Draw `count` pairs of different ids uniformly. Equal seeds and ids give equal pairs.

    If there is only one id, start and goal are equal.
    """
    distinct = list(dict.fromkeys(ids))
    if not distinct:
        raise InvalidRequest("the graph has no nodes to draw pairs from")
    generator = np.random.default_rng(seed)
    first = generator.integers(0, len(distinct), size=count)
    further = generator.integers(1, max(len(distinct), 2), size=count)
    second = (first + further) % len(distinct)
    return [(distinct[start], distinct[goal]) for start, goal in zip(first.tolist(), second.tolist(), strict=True)]
