"""A server in a Java process of its own: started, asked whether it answers, stopped; reaped however the run ends."""

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
"""Seconds from the start to the first answer; three to five when the machine has nothing else to do."""

STOP_S_MAX: Final = 30.0
"""Seconds from SIGTERM to SIGKILL."""

POLL_S: Final = 0.1
PORTS_TRIED_MAX: Final = 5
"""A port that was free may be taken before the server listens on it."""

PORT_TAKEN: Final = ("Address already in use", "BindException")
LOG_BYTES_SHOWN: Final = 3_000


class Reaper:
    """Kills what it was told of when this process ends without stopping it, by SIGKILL for instance."""

    def __init__(self) -> None:
        self._sentinel = start_sentinel()

    def add(self, pid: int) -> None:
        """Be told of a process, which leads its group."""
        created_unix_s = ProcessRecord.of("", pid).created_unix_s
        self._tell(f'{{"add": [{pid}, {created_unix_s!r}]}}')

    def remove(self, pid: int) -> None:
        """Forget a process that has ended."""
        self._tell(f'{{"remove": {pid}}}')

    def close(self) -> None:
        """End; what was not removed is killed."""
        assert self._sentinel.stdin is not None
        self._sentinel.stdin.close()
        self._sentinel.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _tell(self, line: str) -> None:
        assert self._sentinel.stdin is not None
        self._sentinel.stdin.write(line + "\n")
        self._sentinel.stdin.flush()


class JavaServer(ABC):
    """One server on a port of 127.0.0.1, its files in `folder`, which is the server's own.

    `start` after `stop` or `kill` gives the same port again.
    """

    name: ClassVar[str]
    """Folder of its pom."""

    def __init__(self, folder: Path, reaper: Reaper) -> None:
        self.folder = folder
        self.port = 0
        self.log = folder / "server.log"
        self._reaper = reaper
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def configure(self, jars: Jars) -> None:
        """Write the configuration for `self.port`; called before a start, again when the port changes."""

    @abstractmethod
    def command(self, jars: Jars) -> list[str]:
        """Return the command line; no password may stand in it."""

    @abstractmethod
    def answers(self) -> bool:
        """Ask for something small; whether an answer came."""

    def start(self) -> None:
        """Start it, and return when it answers. Raises ServerNotToBeHad with the end of its log."""
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
        """End it in order, or by force when it does not."""
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
        """End it as a crash would."""
        assert self._process is not None
        kill_group(self._process.pid)
        self._ended()

    def pause(self) -> None:
        """Let it stand still, its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _start_once(self, jars: Jars) -> bool:
        """Start it; False when the port was taken meanwhile."""
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
