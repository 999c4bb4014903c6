"""A mesh of one test module's own, whose processes may be killed."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

import psutil
import redis

from planmesh.client import Client, MeshStatus
from planmesh.dispatch.queues import WORKERS_KEY
from planmesh.errors import PlanmeshError
from planmesh.local.child import DEATHS_MAX, DEATHS_WINDOW_S
from planmesh.local.folders import DataFolder
from planmesh.local.state import ProcessRecord, read_state
from services.coordinator.availability import POLL_INTERVAL_S
from tests.conftest import RunningMesh, run_planmesh, start_mesh
from tests.mesh.polling import eventually

NOTICED_S = 4 * POLL_INTERVAL_S
"""Within this the coordinator has looked which workers there are."""

DEATH_NOTED_S_MAX = 2.0
"""From a SIGKILL to the supervisor's noticing it, on a busy machine."""


class OwnMesh:
    """A detached mesh; pids are read anew each time, because killed processes come back under others."""

    def __init__(self, data: Path, running: RunningMesh) -> None:
        self.folder = DataFolder(data)
        self.running = running
        self._deaths: dict[str, deque[float]] = {}

    @property
    def address(self) -> str:
        return self.running.address

    def record(self, name: str) -> ProcessRecord:
        """The process called `name`, as the supervisor knows it now."""
        state = read_state(self.folder)
        assert state is not None, "the mesh has stopped"
        return next(record for record in state.processes if record.name == name)

    def names(self, kind: str) -> list[str]:
        """Names of the processes of a kind, such as "worker"."""
        state = read_state(self.folder)
        assert state is not None, "the mesh has stopped"
        return [record.name for record in state.processes if record.name.split("-")[0] == kind]

    def signal(self, number: signal.Signals, *names: str) -> None:
        """Send a signal to processes of this mesh, each by its pid.

        The supervisor gives up a process that dies too often within a time, so a SIGKILL first waits until there is
        room for one more death.
        """
        if number == signal.SIGKILL:
            for name in names:
                self._wait_for_room(name)
        for name in names:
            os.kill(self.record(name).pid, number)

    def _wait_for_room(self, name: str) -> None:
        """Return when the supervisor starts a process again that dies now, and count that death."""
        deaths = self._deaths.setdefault(name, deque(maxlen=DEATHS_MAX - 1))
        if len(deaths) == DEATHS_MAX - 1:
            room_at_s = deaths[0] + DEATHS_WINDOW_S + DEATH_NOTED_S_MAX
            eventually(lambda: time.monotonic() > room_at_s, f"room for a death of {name}")
        deaths.append(time.monotonic())

    def kill(self, *names: str) -> None:
        """SIGKILL processes, and return when the supervisor has started each again."""
        before = {name: self.record(name).pid for name in names}
        self.signal(signal.SIGKILL, *names)
        for name, pid in before.items():
            self.wait_for_another(name, pid)

    def wait_for_another(self, name: str, pid: int) -> None:
        """Return when a process runs under another pid than `pid`."""
        eventually(lambda: self.record(name).pid != pid and self.record(name).process() is not None, f"another {name}")

    def redis(self) -> redis.Redis:
        """The mesh's broker; its password is in the environment of its processes only."""
        environment = psutil.Process(self.record("coordinator").pid).environ()
        return redis.Redis.from_url(environment["PLANMESH_REDIS_URL"])

    def status(self) -> MeshStatus | None:
        """GetStatus, None while nobody answers."""
        with Client(self.address) as client:
            try:
                return client.status(timeout_s=5)
            except PlanmeshError:
                return None

    def wait_until_whole(self) -> None:
        """Return when everything is up again: every process, and every worker under its present pid."""
        broker = self.redis()
        registered_at_s: float | None = None

        def whole() -> bool:
            nonlocal registered_at_s
            # The coordinator counts a worker that was killed for a while yet, so its number alone does not tell: it
            # must have looked again since the last one registered itself.
            names = [str(field, "ascii").rpartition("-")[0] for field in cast(list[bytes], broker.hkeys(WORKERS_KEY))]
            workers = self.names("worker")
            if not all(any(name.endswith(f"-{self.record(worker).pid}") for name in names) for worker in workers):
                registered_at_s = None
                return False
            now_s = time.monotonic()
            registered_at_s = registered_at_s or now_s
            if now_s < registered_at_s + NOTICED_S:
                return False
            told = self.status()
            return told is not None and told.ready and sum(shard.workers for shard in told.shards) >= len(workers)

        with broker:
            eventually(whole, "a whole mesh", within_s=90)

    def wait_until_idle(self) -> None:
        """Return when nothing waits anywhere: not in the coordinator, not in a queue of Redis."""
        broker = self.redis()

        def idle() -> bool:
            told = self.status()
            queued = [broker.llen(f"planmesh.query.{shard}") for shard in range(int(self.running.ready["shards"]))]
            return told is not None and not any(queued) and not any(shard.pending for shard in told.shards)

        with broker:
            eventually(idle, "empty queues")

    def log(self, name: str) -> str:
        """All that a process has logged."""
        return self.folder.log_file(name).read_text()


@contextmanager
def own_mesh(data: Path, *options: str, environment: dict[str, str] | None = None) -> Iterator[OwnMesh]:
    """Start a mesh, and stop it whatever became of it: processes that a test has stopped are let go on first."""
    mesh = OwnMesh(data, start_mesh(data, *options, environment=environment))
    try:
        yield mesh
    finally:
        state = read_state(mesh.folder)
        for record in state.processes if state is not None else ():
            process = record.process()
            if process is not None:
                with suppress(psutil.NoSuchProcess):
                    process.resume()
        run_planmesh("down", "--data", str(data))
