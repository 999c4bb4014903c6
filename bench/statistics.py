"""Figures made of figures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RELATIVE_TOLERANCE = 1e-9
"""Between costs: float64 sums in another order differ in their last digits."""


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """y = factor * x ** exponent."""

    factor: float
    exponent: float

    def at(self, x: float) -> float:
        """Y there."""
        return float(self.factor * x**self.exponent)


def fit_power_law(points: Sequence[tuple[float, float]]) -> PowerLaw | None:
    """Least squares in logarithms; None with fewer than two different x. All values are positive."""
    if len({x for x, _ in points}) < 2:
        return None
    x, y = np.log(np.array(points, np.float64)).T
    exponent, logarithm = np.polyfit(x, y, 1)
    return PowerLaw(float(np.exp(logarithm)), float(exponent))


def same_cost(one: float, other: float) -> bool:
    """Whether two costs are the same but for the order in which they were added up; both may be infinite."""
    return one == other or math.isclose(one, other, rel_tol=RELATIVE_TOLERANCE, abs_tol=0.0)


def shares(count: int, rounds: int) -> list[tuple[int, int]]:
    """`count` items in `rounds` stretches (begin, end) of nearly equal length; empty ones are left out."""
    cuts = [count * number // rounds for number in range(rounds + 1)]
    return [(begin, end) for begin, end in itertools.pairwise(cuts) if end > begin]


def queries_for(query_s: float, budget_s: float, least: int, most: int) -> int:
    """How many queries that take `query_s` each fit the budget, within bounds."""
    return max(least, min(most, int(budget_s / query_s) if query_s > 0 else most))


def shown(value: float) -> str:
    """A figure with three digits that count: 0.123, 1.23, 12.3, 1,234."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 - math.floor(math.log10(abs(value)))}f}"
