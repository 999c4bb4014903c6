"""One process of the local mesh."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from planmesh.errors import ServiceUnavailable
from planmesh.local.folders import log_tail
from planmesh.local.sentinel import kill_group
from planmesh.local.state import ProcessRecord

STOP_S_MAX: Final = 10.0
"""From SIGTERM to SIGKILL: the services drain for less than that."""

DEATHS_MAX: Final = 5
"""Deaths within DEATHS_WINDOW_S after which a process is given up: it will not come up by itself."""

DEATHS_WINDOW_S: Final = 30.0

BACKOFF_FIRST_S: Final = 0.25
BACKOFF_S_MAX: Final = 8.0
"""Wait before a restart: doubled with every death in the window, so that a broken process does not keep a core busy."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run. `probe` tells whether it is ready; None means it is as soon as it runs."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    probe: Callable[[], Awaitable[bool]] | None = None


@dataclass(slots=True)
class Child:
    """A process, its log, and the history of its deaths."""

    spec: ChildSpec
    log: Path
    record: ProcessRecord | None = None
    _process: asyncio.subprocess.Process | None = None
    _deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS_MAX))

    @property
    def name(self) -> str:
        """Name of the process, also that of its log."""
        return self.spec.name

    @property
    def running(self) -> bool:
        """It was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> ProcessRecord:
        """Start it, in a process group of its own, its output appended to its log."""
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.spec.command,
                env=dict(self.spec.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,  # a Ctrl-C at the terminal reaches the supervisor only; it stops all in order
            )
        finally:
            os.close(descriptor)
        # Until it is waited for, its pid is its own, even when it has ended already.
        self.record = ProcessRecord.of(self.name, self._process.pid)
        return self.record

    async def wait(self) -> int:
        """Exit code, negative for a signal; what its process group left behind is killed."""
        assert self._process is not None
        code = await self._process.wait()
        kill_group(self._process.pid)
        return code

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL when it does not end within STOP_S_MAX."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.wait(), STOP_S_MAX)
        except TimeoutError:
            kill_group(process.pid)
            await self.wait()

    def kill(self) -> None:
        """SIGKILL now."""
        if self._process is not None and self._process.returncode is None:
            kill_group(self._process.pid)

    def note_death(self, code: int, now_s: float) -> float:
        """Seconds to wait before the next start.

        Raises ServiceUnavailable, with the end of the log, when it died too often.
        """
        self._deaths.append(now_s)
        recent = [time_s for time_s in self._deaths if now_s - time_s <= DEATHS_WINDOW_S]
        if len(recent) >= DEATHS_MAX:
            raise ServiceUnavailable(
                f"{self.name} died {len(recent)} times within {DEATHS_WINDOW_S:g} s ({exit_text(code)}); "
                + self.explain(),
                process=self.name,
            )
        return float(min(BACKOFF_FIRST_S * 2 ** (len(recent) - 1), BACKOFF_S_MAX))

    def explain(self) -> str:
        """Where its log is, and how it ends."""
        tail = log_tail(self.log)
        return f"the end of {self.log}:\n{tail}" if tail else f"its log {self.log} is empty"


def exit_text(code: int) -> str:
    """Words for an exit code."""
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
