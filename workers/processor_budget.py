"""How much processor time background work may spend: a share of one core, of which a little may be saved up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

SAVED_S_MAX: Final = 0.1
"""Processor seconds that may be saved up: what a check of a small graph takes, and too little to be felt by anyone."""

BURST_S: Final = 0.002
"""Balance that a piece of work needs to begin. One that takes more is paid back before the next begins."""

ROUNDING_S: Final = 1e-9
"""Less than this is not worth a wait: a clock that counts far from 0 could not even show it."""


class ProcessorBudget:
    """A balance in processor seconds that grows by `share` a second. It begins at 0.

    Work that waits `wait_s` before each piece, and reports what each took, spends no more than `share` of the time
    since the start, but for what its last piece took beyond PIECE_S. `clock` gives monotonic seconds.
    """

    def __init__(self, share: float, clock: Callable[[], float]) -> None:
        """Take a share between 0 and 1, 0 left out."""
        if not 0 < share <= 1:
            raise ValueError(f"expected a share above 0 and of at most 1, got {share}")
        self._share = share
        self._clock = clock
        self._balance_s = 0.0
        self._looked_at_s = clock()

    def wait_s(self) -> float:
        """Return how long to wait before the next piece; 0 when it may begin."""
        self._look()
        missing_s = BURST_S - self._balance_s
        return missing_s / self._share if missing_s > ROUNDING_S else 0.0

    def spend(self, processor_s: float) -> None:
        """Take what a piece took off the balance, which may fall below 0."""
        self._look()
        self._balance_s -= processor_s

    def _look(self) -> None:
        now_s = self._clock()
        self._balance_s = min(SAVED_S_MAX, self._balance_s + self._share * (now_s - self._looked_at_s))
        self._looked_at_s = now_s
