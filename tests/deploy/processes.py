"""The parts of a mesh as containers start them: real processes, of which a test says everything that they are told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
PARTS: Final = ("services.gateway", "services.coordinator", "services.partition", "workers")
END_S_MAX: Final = 60


def environment(variables: dict[str, str]) -> dict[str, str]:
    """Ours, without what the machine says of planmesh and of telemetry, and with `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PLANMESH_", "OTEL_"))}
    return {**kept, "PYTHONUNBUFFERED": "1", **variables}


class Process:
    """One process, and what it has said so far."""

    def __init__(self, module: str, variables: dict[str, str], *before: str) -> None:
        self.process = subprocess.Popen(
            [*before, sys.executable, "-m", module],
            cwd=ROOT,
            env=environment(variables),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._is_over = False
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def said(self) -> str:
        """All of it."""
        return "\n".join(self.lines)

    def events(self) -> list[dict[str, Any]]:
        """Its log."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def wait_for(self, event: str) -> dict[str, Any]:
        """The first line of its log that is of this event; fails when the process ends without it."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.events() if line["event"] == event]

        with self._changed:
            self._changed.wait_for(lambda: found() or self._is_over, timeout=END_S_MAX)
            assert found(), f"expected the event {event!r}, got:\n{self.said}"
            return found()[0]

    def wait(self) -> int:
        """Its exit code, when it has ended by itself."""
        code = self.process.wait(END_S_MAX)
        self._reading.join(END_S_MAX)
        return code

    def end(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(END_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._reading.join(END_S_MAX)

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._is_over = True
            self._changed.notify_all()


@contextmanager
def running(module: str, variables: dict[str, str], *before: str) -> Iterator[Process]:
    """A process for as long as the block takes; `before` is a command that runs it."""
    process = Process(module, variables, *before)
    try:
        yield process
    finally:
        process.end()
