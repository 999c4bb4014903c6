"""Waiting for a condition, with a bound: never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_INTERVAL_S = 0.05
WITHIN_S = 60.0
"""Generous: the machine that runs these tests may be busy with something else."""


def eventually(look: Callable[[], T], what: str, *, within_s: float = WITHIN_S) -> T:
    """The first true value that `look` returns; AssertionError, with the last one, when none comes in time."""
    deadline_s = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline_s:
            raise AssertionError(f"{what} did not come within {within_s:g} s; the last look gave {found!r}")
        time.sleep(POLL_INTERVAL_S)
