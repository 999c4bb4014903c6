"""Pairs of start and goal, drawn at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planmesh.errors import InvalidRequest
from planmesh.measure.pair_lines import Pair


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
