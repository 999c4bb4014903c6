"""Statistics on figures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RELATIVE_TOLERANCE = 1e-9
"""Tolerance between costs: float64 sums in a different order differ in their last digits."""


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """The function y = factor * x ** exponent."""

    factor: float
    exponent: float

    def at(self, x: float) -> float:
        """Return y at x."""
        return float(self.factor * x**self.exponent)


def fit_power_law(points: Sequence[tuple[float, float]]) -> PowerLaw | None:
    """Fit by least squares in logarithms. Return None with fewer than two different x. All values must be positive."""
    if len({x for x, _ in points}) < 2:
        return None
    x, y = np.log(np.array(points, np.float64)).T
    exponent, logarithm = np.polyfit(x, y, 1)
    return PowerLaw(float(np.exp(logarithm)), float(exponent))


def same_cost(one: float, other: float) -> bool:
    """Whether two costs are equal up to the order of summation; both may be infinite."""
    return one == other or math.isclose(one, other, rel_tol=RELATIVE_TOLERANCE, abs_tol=0.0)


def shares(count: int, rounds: int) -> list[tuple[int, int]]:
    """Divide `count` items into `rounds` ranges (begin, end) of nearly equal length, without empty ones."""
    cuts = [count * number // rounds for number in range(rounds + 1)]
    return [(begin, end) for begin, end in itertools.pairwise(cuts) if end > begin]


def queries_for(query_s: float, budget_s: float, least: int, most: int) -> int:
    """Return how many queries of `query_s` each fit the budget, within bounds."""
    return max(least, min(most, int(budget_s / query_s) if query_s > 0 else most))


def shown(value: float) -> str:
    """Format a figure with three significant digits: 0.123, 1.23, 12.3, 1,234."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 - math.floor(math.log10(abs(value)))}f}"
