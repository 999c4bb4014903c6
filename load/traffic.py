"""What the agents ask for: hot pairs by Zipf's law, cold pairs, nodes. Pure: the caller brings the random numbers."""

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
"""Enough that the cache has to keep more than a handful, few enough that most hot plans find their answer there."""
ZIPF_EXPONENT: Final = 1.1
"""Near 1, as what is asked of caches mostly is (Breslau et al., Web Caching and Zipf-like Distributions, 1999)."""
BATCH_PAIRS: Final = 50


class ZipfRanks:
    """Ranks 0 to `count` - 1, rank k drawn with a probability in proportion to 1 / (k + 1) ** exponent."""

    def __init__(self, count: int, exponent: float = ZIPF_EXPONENT) -> None:
        if count < 1 or exponent < 0:
            raise ValueError(f"expected at least one rank and an exponent of 0 or more, got {count} and {exponent}")
        self._cumulative = list(accumulate(math.pow(rank + 1, -exponent) for rank in range(count)))

    def share(self, rank: int) -> float:
        """The probability of a rank."""
        below = self._cumulative[rank - 1] if rank else 0.0
        return (self._cumulative[rank] - below) / self._cumulative[-1]

    def draw(self, random: Random) -> int:
        """A rank."""
        # random() is below 1, but its product with the total may round up to the total.
        found = bisect_right(self._cumulative, random.random() * self._cumulative[-1])
        return min(found, len(self._cumulative) - 1)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests over the nodes `ids`; every process that has the same ids and seed has the same hot pairs."""

    ids: Sequence[str]
    hot: Sequence[Pair]
    ranks: ZipfRanks

    @classmethod
    def over(cls, ids: Sequence[str], seed: int) -> Traffic:
        """Traffic over these nodes. Raises ValueError when there are none."""
        if not ids:
            raise ValueError("expected nodes to ask for, got none: the graph is empty")
        random = Random(seed)
        hot = [_pair(ids, random) for _ in range(HOT_PAIRS)]
        return cls(ids, hot, ZipfRanks(HOT_PAIRS))

    def hot_pair(self, random: Random) -> Pair:
        """A pair that is asked for again and again."""
        return self.hot[self.ranks.draw(random)]

    def cold_pair(self, random: Random) -> Pair:
        """Any pair; in a graph of some size hardly ever asked for before."""
        return _pair(self.ids, random)

    def batch(self, random: Random) -> list[Pair]:
        """The pairs of one PlanMany, every other one hot."""
        return [self.hot_pair(random) if i % 2 else self.cold_pair(random) for i in range(BATCH_PAIRS)]

    def node(self, random: Random) -> str:
        """Any node."""
        return random.choice(self.ids)


def _pair(ids: Sequence[str], random: Random) -> Pair:
    """Two nodes, different ones where there are two."""
    start = random.randrange(len(ids))
    goal = (start + random.randrange(1, len(ids))) % len(ids) if len(ids) > 1 else start
    return ids[start], ids[goal]
