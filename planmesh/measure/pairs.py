"""Pairs of start and goal: drawn at random, or read from a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

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


def random_pairs(ids: Sequence[str], count: int, seed: int) -> list[Pair]:
    """`count` pairs of different ids, drawn uniformly; the same for the same seed and ids.

    Where there is only one id, start and goal are the same.
    """
    distinct = list(dict.fromkeys(ids))
    if not distinct:
        raise InvalidRequest("the graph has no nodes to draw pairs from")
    generator = np.random.default_rng(seed)
    first = generator.integers(0, len(distinct), size=count)
    further = generator.integers(1, max(len(distinct), 2), size=count)
    second = (first + further) % len(distinct)
    return [(distinct[start], distinct[goal]) for start, goal in zip(first.tolist(), second.tolist(), strict=True)]
