"""The processes of one gateway: a parent that serves no calls, and children that share a port.

A Python process uses one core. With PLANMESH_GATEWAY_PROCESSES above 1, the process that was started reserves the port
and starts that many children. Each child is a whole gateway with its own connections, streams to coordinators, bounds,
readiness and metrics. The parent restarts a child that ends, passes signals on, and ends when all children have ended.
Children are new processes and not forks, because gRPC does not survive a fork.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from planmesh.cores import usable_cores
from planmesh.errors import ServiceUnavailable
from planmesh.rpc.shared_port import reserve_port
from planmesh.settings import GATEWAY_PROCESSES_MAX, GatewaySettings, SettingsError
from planmesh.supervision import backoff_s
from planmesh.telemetry.logs import get_logger

CHILD_OPTION: Final = "--child-of"
"""Argument of a child, followed by the id of its parent."""

HURRY_SIGNAL: Final = signal.SIGUSR1
"""From the parent to its children after a second SIGTERM or SIGINT: cancel the calls in progress. A child ends slowly
however often it gets the first two, because service managers and terminals signal parent and children at once."""

STEADY_S: Final = 30.0
"""A child that has run for so long has started well: its end begins a new series of failures."""
FAILURES_MAX: Final = 5
"""Ends of a child in a row, each within STEADY_S of its start, after which the whole gateway ends with an error."""
RESTART_S_FIRST: Final = 0.25
RESTART_S_MAX: Final = 5.0
"""Wait before a child is started again. It doubles with every failure in a row."""

ENDING_S: Final = 10.0
"""What a child may take to end in addition to its time to drain: it closes streams and exports its last metrics."""

PR_SET_PDEATHSIG: Final = 1
"""Option of Linux's prctl(2): the signal that a process gets when its parent dies."""

log = get_logger(__name__)


def process_count(settings: GatewaySettings) -> int:
    """Return the number of processes that serve. Raises SettingsError when several cannot share the address."""
    shares = sys.platform == "linux"
    if not settings.gateway_processes:
        return min(usable_cores(), GATEWAY_PROCESSES_MAX) if shares and not _is_socket(settings) else 1
    if settings.gateway_processes > 1 and not shares:
        raise SettingsError("PLANMESH_GATEWAY_PROCESSES: expected 1, because only Linux spreads connections, got more")
    if settings.gateway_processes > 1 and _is_socket(settings):
        raise SettingsError(
            f"PLANMESH_GATEWAY_PROCESSES: expected 1 for {settings.gateway_listen}, because processes cannot share a "
            f"unix socket, got {settings.gateway_processes}"
        )
    return settings.gateway_processes


def _is_socket(settings: GatewaySettings) -> bool:
    return settings.gateway_listen.startswith("unix:")


def end_with_parent(parent: int) -> None:
    """Have the kernel send this process SIGTERM when `parent` dies, so that it drains and ends. Linux only."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before
        sys.exit(f"the parent {parent} has ended")


async def run_processes(settings: GatewaySettings, count: int) -> None:
    """Run `count` children until SIGTERM or SIGINT, and return when all have ended.

    Raises ServiceUnavailable when the port is in use, when a child cannot be kept up, or when one had to be killed.
    """
    reservation, address = reserve_port(settings.gateway_listen)
    with reservation:
        environment = {
            **os.environ,
            "PLANMESH_GATEWAY_LISTEN": address,
            "PLANMESH_GATEWAY_PROCESSES": str(count),
            "PLANMESH_USD_PER_HOUR": "0",  # the price is that of the whole gateway; the parent reports it
        }
        command = (sys.executable, "-m", "services.gateway", CHILD_OPTION, str(os.getpid()))
        log.info("starting processes", address=address, processes=count)
        children = Children(command, environment, count)
        await children.run(drain_s=settings.shutdown_leave_s + settings.shutdown_grace_s)


class Children:
    """Child processes of one command, each restarted when it ends."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], count: int) -> None:
        self._command = tuple(command)
        self._environment = dict(environment)
        self._count = count
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self, *, drain_s: float) -> None:
        """Keep all children up until a signal. They may then take `drain_s` before they count as hanging."""
        with self._signals():
            keepers = [asyncio.create_task(self._keep_up(number)) for number in range(self._count)]
            stopped = asyncio.create_task(self._stop.wait())
            try:
                await asyncio.wait([stopped, *keepers], return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._stop.set()
                stopped.cancel()
                hanging = await self._end_all(keepers, drain_s)
            for error in [keeper.exception() for keeper in keepers]:
                if error is not None:
                    raise error
            if hanging:
                raise ServiceUnavailable(f"killed processes that did not end in {drain_s + ENDING_S:g} s: {hanging}")

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def on_signal() -> None:
            if self._stop.is_set():
                self._hurry.set()
            self._stop.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def _keep_up(self, number: int) -> None:
        """Run child `number`, and start it again when it ends. Raises ServiceUnavailable after FAILURES_MAX."""
        failures = 0
        while not self._stop.is_set():
            began_s = time.monotonic()
            child = await asyncio.create_subprocess_exec(
                *self._command, env=self._environment, stdin=asyncio.subprocess.DEVNULL
            )
            self._running[number] = child
            log.info("process started", number=number, child=child.pid)
            if self._stop.is_set():
                child.terminate()  # the signal to all came while this one was being created
            code = await child.wait()
            del self._running[number]
            if self._stop.is_set():
                log.info("process ended", number=number, child=child.pid, code=code)
                return
            failures = failures + 1 if time.monotonic() - began_s < STEADY_S else 1
            if failures >= FAILURES_MAX:
                raise ServiceUnavailable(
                    f"process {number} of the gateway ended {failures} times in a row, each time within {STEADY_S:g} s "
                    f"of its start, the last time with code {code}; the log lines before this one say why"
                )
            wait_s = backoff_s(failures, RESTART_S_FIRST, RESTART_S_MAX)
            log.error("process ended unexpectedly", number=number, child=child.pid, code=code, restart_s=wait_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), wait_s)

    async def _end_all(self, keepers: Sequence[asyncio.Task[None]], drain_s: float) -> list[int]:
        """Ask all children to end, and kill those that do not. Return the ids of these."""
        self._send(signal.SIGTERM)
        hurrying = asyncio.create_task(self._hurry.wait())
        ending = asyncio.ensure_future(asyncio.wait(keepers))
        await asyncio.wait([ending, hurrying], timeout=drain_s + ENDING_S, return_when=asyncio.FIRST_COMPLETED)
        hurrying.cancel()
        if self._hurry.is_set():
            self._send(HURRY_SIGNAL)
            await asyncio.wait([ending], timeout=ENDING_S)
        hanging = [child.pid for child in self._running.values()]
        self._send(signal.SIGKILL)
        await ending
        return hanging

    def _send(self, number: signal.Signals) -> None:
        for child in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(number)
