"""Processors in a simulation: shared by all that runs on a machine, and rationed as Linux rations a container's."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator
from typing import Any, Final

import simpy

Steps = Generator[simpy.Event, Any, Any]

SLICE_S: Final = 0.001
"""How long something runs before another may: about what Linux gives where a few wait."""

QUOTA_PERIOD_S: Final = 0.1
"""Linux's default for a container's processor limit."""

NOTHING_S: Final = 1e-12


class Quota:
    """A container's limit: `cores` of processor time in each period; what it overran is paid in the next one."""

    def __init__(self, environment: simpy.Environment, cores: float, period_s: float = QUOTA_PERIOD_S) -> None:
        self._environment = environment
        self._budget_s = cores * period_s
        self._period_s = period_s
        self._left_s = self._budget_s
        self._period = 0

    def take(self, seconds: float) -> Steps:
        """Return when so much may be used."""
        while True:
            period = math.floor(self._environment.now / self._period_s + 1e-9)
            if period > self._period:
                self._left_s = min(self._budget_s, self._left_s + (period - self._period) * self._budget_s)
                self._period = period
            if self._left_s > 0:
                self._left_s -= seconds
                return
            yield self._environment.timeout((period + 1) * self._period_s - self._environment.now)


class Machine:
    """Some cores that all share; None: every process has one of its own."""

    def __init__(self, environment: simpy.Environment, cores: int | None, background_cores: float = 0.0) -> None:
        self.environment = environment
        self._cores = simpy.Resource(environment, cores) if cores is not None else None
        # What is always busy with something else slows all down alike.
        self._slowed = cores / (cores - background_cores) if cores is not None else 1.0
        self.busy_s = 0.0

    def run(self, seconds: float, quota: Quota | None = None) -> Steps:
        """Use so much processor time, in slices that others may come between."""
        self.busy_s += seconds
        if self._cores is None and quota is None:
            if seconds > 0:
                yield self.environment.timeout(seconds)
            return
        left_s = seconds
        while left_s > NOTHING_S:
            slice_s = min(left_s, SLICE_S)
            left_s -= slice_s
            if quota is not None:
                yield from quota.take(slice_s)
            if self._cores is None:
                yield self.environment.timeout(slice_s)
                continue
            with self._cores.request() as request:
                yield request
                yield self.environment.timeout(slice_s * self._slowed)


class Loop:
    """A process that does one thing at a time, as an event loop does.

    A turn of it does what is ready, in the order in which it came, and lets one new call in: a server of grpc.aio takes
    calls one by one, so that a crowd of them waits at the door while those inside are served.
    """

    def __init__(self, machine: Machine, wake_s: float = 0.0, quota: Quota | None = None) -> None:
        self._machine = machine
        self._wake_s = wake_s
        self._quota = quota
        self._ready: deque[tuple[float, simpy.Event]] = deque()
        self._new: deque[tuple[float, simpy.Event]] = deque()
        self._busy = False
        self.busy_s = 0.0

    def do(self, seconds: float, *, new_call: bool = False) -> simpy.Event:
        """Have it spend so much processor time; the event happens when it has."""
        done = self._machine.environment.event()
        (self._new if new_call else self._ready).append((seconds, done))
        if not self._busy:
            self._busy = True
            self._machine.environment.process(self._serve())
        return done

    def _serve(self) -> Steps:
        wake_s = self._wake_s
        while self._ready or self._new:
            turn = [self._ready.popleft() for _ in range(len(self._ready))]
            if self._new:
                turn.append(self._new.popleft())
            for seconds, done in turn:
                self.busy_s += wake_s + seconds
                yield from self._machine.run(wake_s + seconds, self._quota)
                done.succeed()
                wake_s = 0.0
        self._busy = False
