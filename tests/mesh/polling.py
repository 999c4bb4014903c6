"""Waits for a condition with a bound, never for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_INTERVAL_S = 0.05
WITHIN_S = 60.0
"""Generous, because the machine may be busy with other programs."""


def eventually(look: Callable[[], T], what: str, *, within_s: float = WITHIN_S) -> T:
    """Return the first true value of `look`. Raises AssertionError with the last value after `within_s`."""
    deadline_s = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline_s:
            raise AssertionError(f"expected {what} within {within_s:g} s; the last value was {found!r}")
        time.sleep(POLL_INTERVAL_S)
