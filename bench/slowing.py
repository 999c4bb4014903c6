"""Slows processes down for a while, as on a busy machine, by stopping them for a share of every period.

A helper process stops and continues them. It is this file with the pids as arguments, imports nothing of planmesh, and
ends with its standard input.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

SLOW_PERIOD_S: Final = 0.1
SLOW_SHARE: Final = 0.6
"""Share of every period during which a slow process is stopped."""


@contextmanager
def slowed(pids: Sequence[int]) -> Iterator[None]:
    """Slow these processes down for the duration of the block. Raises RuntimeError if one does not exist."""
    command = [sys.executable, __file__, *map(str, pids)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as pulses:
        assert pulses.stdin is not None
        assert pulses.stdout is not None
        if not pulses.stdout.readline():
            raise RuntimeError(f"expected to slow down the processes {list(pids)}, but could not; see above")
        try:
            yield
        finally:
            pulses.stdin.close()
    if pulses.returncode:
        raise RuntimeError(f"expected the processes {list(pids)} to live until the end of the slow-down; see above")


def main() -> None:
    """Stop and continue the processes of the command line, until standard input ends."""
    pids = [int(pid) for pid in sys.argv[1:]]
    _signal(pids, signal.SIGCONT)
    print("slowing", flush=True)
    try:
        while not _ended(SLOW_PERIOD_S * (1 - SLOW_SHARE)):
            _signal(pids, signal.SIGSTOP)
            _ended(SLOW_PERIOD_S * SLOW_SHARE)
            _signal(pids, signal.SIGCONT)
    finally:
        _signal(pids, signal.SIGCONT)


def _ended(within_s: float) -> bool:
    return bool(select.select([sys.stdin], [], [], within_s)[0])


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


if __name__ == "__main__":
    main()
