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
"""From SIGTERM to SIGKILL. The services drain for less than that."""

DEATHS_MAX: Final = 5
"""Deaths within DEATHS_WINDOW_S after which the supervisor gives a process up, because restarts do not help."""

DEATHS_WINDOW_S: Final = 30.0

BACKOFF_FIRST_S: Final = 0.25
BACKOFF_S_MAX: Final = 8.0
"""Longest wait before a restart. The wait doubles with every death in the window, which limits the load of crashes."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """The command of a process. `probe` returns whether it is ready; None means that it is ready once it runs."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    probe: Callable[[], Awaitable[bool]] | None = None


@dataclass(slots=True)
class Child:
    """A process, its log, and its recent deaths."""

    spec: ChildSpec
    log: Path
    record: ProcessRecord | None = None
    _process: asyncio.subprocess.Process | None = None
    _deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS_MAX))

    @property
    def name(self) -> str:
        """The name of the process and of its log."""
        return self.spec.name

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> ProcessRecord:
        """Start the process in its own process group, and append its output to its log."""
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.spec.command,
                env=dict(self.spec.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,  # so that Ctrl-C reaches only the supervisor, which stops all in order
            )
        finally:
            os.close(descriptor)
        # Until it is waited for, its pid is not reused, even after it has ended.
        self.record = ProcessRecord.of(self.name, self._process.pid)
        return self.record

    async def wait(self) -> int:
        """Return the exit code, negative for a signal. Kills the rest of its process group."""
        assert self._process is not None
        code = await self._process.wait()
        kill_group(self._process.pid)
        return code

    async def stop(self) -> None:
        """Send SIGTERM, then SIGKILL if the process does not end within STOP_S_MAX."""
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
        """Send SIGKILL."""
        if self._process is not None and self._process.returncode is None:
            kill_group(self._process.pid)

    def note_death(self, code: int, now_s: float) -> float:
        """Return the seconds to wait before the next start.

        Raises ServiceUnavailable, with the end of the log, after too many deaths.
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
        """Return the path of its log, and the log's end."""
        tail = log_tail(self.log)
        return f"the end of {self.log}:\n{tail}" if tail else f"its log {self.log} is empty"


def exit_text(code: int) -> str:
    """Describe an exit code."""
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
