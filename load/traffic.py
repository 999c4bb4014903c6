"""What the agents request: hot pairs by Zipf's law, cold pairs, nodes. Pure: callers supply the random generator."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Final

Pair = tuple[str, str]

HOT_PAIRS: Final = 200
"""More than a handful, so that the cache is used; few enough that most hot plans are cached."""
ZIPF_EXPONENT: Final = 1.1
"""Near 1, as is typical of cache traffic (Breslau et al., Web Caching and Zipf-like Distributions, 1999)."""
BATCH_PAIRS: Final = 50


class ZipfRanks:
    """Ranks 0 to `count` - 1. The probability of rank k is proportional to 1 / (k + 1) ** exponent."""

    def __init__(self, count: int, exponent: float = ZIPF_EXPONENT) -> None:
        if count < 1 or exponent < 0:
            raise ValueError(f"expected at least one rank and an exponent of 0 or more, got {count} and {exponent}")
        self._cumulative = list(accumulate(math.pow(rank + 1, -exponent) for rank in range(count)))

    def share(self, rank: int) -> float:
        """Return the probability of a rank."""
        below = self._cumulative[rank - 1] if rank else 0.0
        return (self._cumulative[rank] - below) / self._cumulative[-1]

    def draw(self, random: Random) -> int:
        """Draw a rank."""
        # random() is below 1, but its product with the total may round up to the total.
        found = bisect_right(self._cumulative, random.random() * self._cumulative[-1])
        return min(found, len(self._cumulative) - 1)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests over the nodes `ids`. Processes with the same ids and seed have the same hot pairs."""

    ids: Sequence[str]
    hot: Sequence[Pair]
    ranks: ZipfRanks

    @classmethod
    def over(cls, ids: Sequence[str], seed: int) -> Traffic:
        """Make traffic over these nodes. Raises ValueError if there are none."""
        if not ids:
            raise ValueError("expected at least one node, got none: the graph is empty")
        random = Random(seed)
        hot = [_pair(ids, random) for _ in range(HOT_PAIRS)]
        return cls(ids, hot, ZipfRanks(HOT_PAIRS))

    def hot_pair(self, random: Random) -> Pair:
        """Draw a pair that is requested often."""
        return self.hot[self.ranks.draw(random)]

    def cold_pair(self, random: Random) -> Pair:
        """Draw any pair. In a graph of some size it was hardly ever requested before."""
        return _pair(self.ids, random)

    def batch(self, random: Random) -> list[Pair]:
        """Draw the pairs of one PlanMany; every other one is hot."""
        return [self.hot_pair(random) if i % 2 else self.cold_pair(random) for i in range(BATCH_PAIRS)]

    def node(self, random: Random) -> str:
        """Draw any node."""
        return random.choice(self.ids)


def _pair(ids: Sequence[str], random: Random) -> Pair:
    """Draw two nodes, different ones if the graph has two."""
    start = random.randrange(len(ids))
    goal = (start + random.randrange(1, len(ids))) % len(ids) if len(ids) > 1 else start
    return ids[start], ids[goal]
