"""Finds the pairs that are requested often, in a sliding window of bounded memory. Callers pass the time in."""

from __future__ import annotations

from collections import deque
from typing import Final

SLOTS: Final = 6
"""Sections of the window: it slides by a sixth of its length."""

PAIRS_PER_SLOT_MAX: Final = 100_000
"""Pairs counted in one section; more are not counted there, so that a flood of rare pairs takes no more memory."""


class HotPairs:
    """Counts requests for each pair."""

    def __init__(self, window_s: float, threshold: int) -> None:
        self._slot_s = window_s / SLOTS
        self._threshold = threshold
        self._slots: deque[tuple[int, dict[tuple[str, str], int]]] = deque()

    def ask(self, pair: tuple[str, str], now_s: float) -> bool:
        """Count a request; return whether the pair is hot: at the threshold or above, including this request."""
        number = int(now_s / self._slot_s)
        while self._slots and self._slots[0][0] <= number - SLOTS:
            self._slots.popleft()
        if not self._slots or self._slots[-1][0] != number:
            self._slots.append((number, {}))
        newest = self._slots[-1][1]
        if pair in newest or len(newest) < PAIRS_PER_SLOT_MAX:
            newest[pair] = newest.get(pair, 0) + 1
        return sum(counts.get(pair, 0) for _, counts in self._slots) >= self._threshold
