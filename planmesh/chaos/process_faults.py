"""Faults of processes: killed, stopped for a while, or (Redis) emptied."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

from planmesh.chaos.mesh import ChaosMesh
from planmesh.chaos.scenario import Fault, Stage
from planmesh.errors import Conflict, PlanmeshError, Unavailable

LOADS_MAX: Final = 5
"""Attempts to see a load in the intended phase before it ends."""

RESUMED_S_MAX: Final = 30.0
"""From the start of a process until a load succeeds: it must start, and may first finish the load that was killed."""

BUSY_PAUSE_S: Final = 0.25

Choose = Callable[[ChaosMesh], Sequence[str]]
"""Returns the names of the processes that a fault affects."""


def one_of(kind: str) -> Choose:
    """Choose the first process of a kind."""
    return lambda mesh: mesh.names(kind)[:1]


def all_of_shard(shard: int) -> Choose:
    """Choose all query workers of a shard."""
    return lambda mesh: mesh.workers_of(shard)


class Kill(Fault):
    """Sends SIGKILL. Healing waits until the supervisor has restarted the processes."""

    def __init__(self, choose: Choose) -> None:
        self._choose = choose
        self._pids: dict[str, int] = {}

    async def inject(self, stage: Stage) -> None:
        self._pids = await stage.mesh.kill(*self._choose(stage.mesh))
        stage.notes.append(f"killed {', '.join(self._pids)}")

    async def heal(self, stage: Stage) -> None:
        await stage.mesh.wait_for_others(self._pids)


class KillDuringLoad(Kill):
    """Sends SIGKILL while the mesh builds indexes of the same graph with other costs."""

    def __init__(self, choose: Choose, *, load_survives: bool) -> None:
        super().__init__(choose)
        self._load_survives = load_survives
        self._loading: asyncio.Task[int] | None = None

    async def inject(self, stage: Stage) -> None:
        for _ in range(LOADS_MAX):
            loading = self._loading = asyncio.create_task(stage.load(stage.new_variant()))
            if await stage.mesh.until_loading("index", loading):
                break
            await loading
        stage.expect(not loading.done(), f"expected a load in progress, but {LOADS_MAX} loads ended before the kill")
        await super().inject(stage)

    async def heal(self, stage: Stage) -> None:
        await super().heal(stage)
        assert self._loading is not None
        try:
            stage.notes.append(f"the load became version {await self._loading}")
        except PlanmeshError as error:
            stage.notes.append(f"the load was refused: {type(error).__name__}")
            stage.expect(not self._load_survives, f"expected the load to finish, got {error.message}")
            stage.notes.append(f"a second load became version {await _load_when_free(stage)}")

    async def restore(self, stage: Stage) -> None:
        if self._loading is not None and not self._loading.done():
            self._loading.cancel()
            await asyncio.wait({self._loading})


async def _load_when_free(stage: Stage) -> int:
    """Load when the process accepts loads: it may first resume and finish the one that was killed."""
    deadline_s = time.monotonic() + RESUMED_S_MAX
    while True:
        try:
            return await stage.load(stage.new_variant())
        except (Conflict, Unavailable):
            if time.monotonic() > deadline_s:
                raise
            await asyncio.sleep(BUSY_PAUSE_S)


class Stop(Fault):
    """Sends SIGSTOP, and SIGCONT when healed. Between them the processes exist but do nothing."""

    def __init__(self, choose: Choose) -> None:
        self._choose = choose
        self._names: Sequence[str] = ()

    async def inject(self, stage: Stage) -> None:
        self._names = self._choose(stage.mesh)
        stage.mesh.signal(signal.SIGSTOP, *self._names)
        stage.notes.append(f"stopped {', '.join(self._names)}")

    async def heal(self, stage: Stage) -> None:
        stage.mesh.signal(signal.SIGCONT, *self._names)

    async def restore(self, stage: Stage) -> None:
        stage.mesh.resume_all()


class ForgetAll(Fault):
    """Sends FLUSHALL: the broker keeps running, but loses queues, replies, the list of workers and cached answers."""

    async def inject(self, stage: Stage) -> None:
        connection = stage.mesh.connect_redis()
        try:
            await connection.flushall()
        finally:
            await connection.aclose()
