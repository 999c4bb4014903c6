"""Bounds the processor time of background work to a share of one core, with small savings for bursts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

SAVED_S_MAX: Final = 0.1
"""Processor seconds that may be saved up: the cost of checking a small graph, and too little to slow queries."""

BURST_S: Final = 0.002
"""Balance needed to begin a unit of work. A unit that takes more is paid back before the next one begins."""

ROUNDING_S: Final = 1e-9
"""Shortfalls up to this cause no wait: a clock with a large value could not even resolve them."""


class ProcessorBudget:
    """A balance in processor seconds, which starts at 0 and grows by `share` per second.

    Work that waits `wait_s` before each unit, and reports the cost of each to `spend`, uses at most `share` of the time
    since the start, plus what its last unit took beyond BURST_S. `clock` returns monotonic seconds.
    """

    def __init__(self, share: float, clock: Callable[[], float]) -> None:
        """Raise ValueError unless `share` is above 0 and at most 1."""
        if not 0 < share <= 1:
            raise ValueError(f"expected a share above 0 and of at most 1, got {share}")
        self._share = share
        self._clock = clock
        self._balance_s = 0.0
        self._updated_at_s = clock()

    def wait_s(self) -> float:
        """Return how long to wait before the next unit; 0 when it may begin."""
        self._update()
        missing_s = BURST_S - self._balance_s
        return missing_s / self._share if missing_s > ROUNDING_S else 0.0

    def spend(self, processor_s: float) -> None:
        """Subtract the cost of a unit from the balance, which may become negative."""
        self._update()
        self._balance_s -= processor_s

    def _update(self) -> None:
        now_s = self._clock()
        self._balance_s = min(SAVED_S_MAX, self._balance_s + self._share * (now_s - self._updated_at_s))
        self._updated_at_s = now_s
