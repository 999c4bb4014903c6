"""A server in a separate Java process: starts it, waits for its answer, stops it, kills it if the run ends early."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

from planmesh.local.ports import free_port
from planmesh.local.sentinel import kill_group
from planmesh.local.state import ProcessRecord
from planmesh.local.supervisor import start_sentinel
from tests.servers.jars import Jars, ServerNotToBeHad, fetch_jars

READY_S_MAX: Final = 120.0
"""Longest wait, in seconds, from the start to the first answer; an idle machine takes three to five."""

STOP_S_MAX: Final = 30.0
"""Seconds from SIGTERM to SIGKILL."""

POLL_S: Final = 0.1
PORTS_TRIED_MAX: Final = 5
"""Starts with a new port each: another process may take a free port before the server listens on it."""

PORT_TAKEN: Final = ("Address already in use", "BindException")
LOG_BYTES_SHOWN: Final = 3_000


class Reaper:
    """Kills the registered processes if this process ends without stopping them, for example by SIGKILL."""

    def __init__(self) -> None:
        self._sentinel = start_sentinel()

    def add(self, pid: int) -> None:
        """Register a process that leads its process group."""
        created_unix_s = ProcessRecord.of("", pid).created_unix_s
        self._send(f'{{"add": [{pid}, {created_unix_s!r}]}}')

    def remove(self, pid: int) -> None:
        """Unregister a process that has ended."""
        self._send(f'{{"remove": {pid}}}')

    def close(self) -> None:
        """Stop; registered processes are killed."""
        assert self._sentinel.stdin is not None
        self._sentinel.stdin.close()
        self._sentinel.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _send(self, line: str) -> None:
        assert self._sentinel.stdin is not None
        self._sentinel.stdin.write(line + "\n")
        self._sentinel.stdin.flush()


class JavaServer(ABC):
    """One server on a port of 127.0.0.1, with its files in `folder`, which only it uses.

    A `start` after `stop` or `kill` uses the same port.
    """

    name: ClassVar[str]
    """The folder of its pom."""

    def __init__(self, folder: Path, reaper: Reaper) -> None:
        self.folder = folder
        self.port = 0
        self.log = folder / "server.log"
        self._reaper = reaper
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def configure(self, jars: Jars) -> None:
        """Write the configuration for `self.port`; called before a start, and again when the port changes."""

    @abstractmethod
    def command(self, jars: Jars) -> list[str]:
        """Return the command line, which must not contain a password."""

    @abstractmethod
    def answers(self) -> bool:
        """Make a small request; return whether the server answered."""

    def start(self) -> None:
        """Start the server, and return when it answers. Raises ServerNotToBeHad with the end of its log."""
        jars = fetch_jars(self.name)
        self.folder.mkdir(parents=True, exist_ok=True)
        for _ in range(1 if self.port else PORTS_TRIED_MAX):
            if self.port == 0:
                self.port = free_port()
                self.configure(jars)
            if self._start_once(jars):
                return
            self.port = 0
        raise ServerNotToBeHad(f"{self.name} found no free port: {self._log_end()}")

    def stop(self) -> None:
        """Stop the server with SIGTERM, or with SIGKILL when that takes too long."""
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            kill_group(process.pid)
        self._ended()

    def kill(self) -> None:
        """Kill the server, as a crash would."""
        assert self._process is not None
        kill_group(self._process.pid)
        self._ended()

    def pause(self) -> None:
        """Suspend the server with its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume the server."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def pid(self) -> int:
        """The pid of the running server."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _start_once(self, jars: Jars) -> bool:
        """Start the server; return False when its port was taken meanwhile."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command(jars),
                cwd=self.folder,
                env={**os.environ, "JAVA_TOOL_OPTIONS": ""},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._reaper.add(self._process.pid)
        give_up_s = time.monotonic() + READY_S_MAX
        while not self.answers():
            code = self._process.poll()
            if code is not None:
                self._ended()
                if any(sign in self._log_end() for sign in PORT_TAKEN):
                    return False
                raise ServerNotToBeHad(f"{self.name} ended with exit code {code}: {self._log_end()}")
            if time.monotonic() > give_up_s:
                self.kill()
                raise ServerNotToBeHad(f"{self.name} did not answer within {READY_S_MAX:g} s: {self._log_end()}")
            time.sleep(POLL_S)
        return True

    def _ended(self) -> None:
        assert self._process is not None
        self._process.wait()
        self._reaper.remove(self._process.pid)
        self._process = None

    def _log_end(self) -> str:
        return self.log.read_bytes()[-LOG_BYTES_SHOWN:].decode("utf-8", "replace")
