"""A local mesh that is there to be harmed: started by the experiment itself, in a folder of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import ChainMap, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import redis.asyncio

from planmesh.chaos.proxies import Proxies
from planmesh.client import AsyncClient, Client, MeshStatus
from planmesh.dispatch.connections import connect_async
from planmesh.dispatch.queues import query_queue
from planmesh.errors import PlanmeshError, ServiceUnavailable
from planmesh.local.child import DEATHS_MAX, DEATHS_WINDOW_S, ChildSpec
from planmesh.local.folders import DataFolder
from planmesh.local.options import MeshOptions
from planmesh.local.ports import LOOPBACK
from planmesh.local.state import MeshState, ProcessRecord, read_state
from planmesh.local.supervisor import Supervisor

LOOK_EVERY_S: Final = 0.1

LOOK_CLOSELY_S: Final = 0.005
"""Between looks at a load: its phases take some tenths of a second."""

RESTART_S_MAX: Final = 30.0
"""From the end of a process to its next start: the supervisor waits for 8 s at most."""

DEATH_NOTED_S_MAX: Final = 2.0
"""From a process's end to the supervisor's noticing it, on a busy machine."""

STATUS_S_MAX: Final = 5.0

LEFT_OVER: Final = "are left over"

REDIS_VARIABLE: Final = "PLANMESH_REDIS_URL"

LINES: Final[dict[str, dict[str, str]]] = {
    "gateway": {
        "PLANMESH_COORDINATOR_ADDRESS": "gateway-coordinator",
        "PLANMESH_PARTITION_ADDRESS": "gateway-partition",
    },
    "coordinator": {REDIS_VARIABLE: "coordinator-redis", "PLANMESH_PARTITION_ADDRESS": "coordinator-partition"},
    "worker": {REDIS_VARIABLE: "-redis"},
}
"""Of each kind of process: the variables that lead to others, and the lines' names; a worker's begins with its own."""


class ChaosMesh:
    """The processes of a running mesh. Pids are read anew each time, because processes that were killed come back."""

    def __init__(self, options: MeshOptions, proxies: Proxies | None) -> None:
        self.folder = DataFolder(options.data)
        self.workers = options.workers
        self.shards = options.shards
        self.proxies = proxies
        self.redis_url = ""
        """Straight to the broker, whatever proxies the processes go through."""
        self._overrides: dict[str, dict[str, str]] = {}
        self._deaths: dict[str, deque[float]] = {}

    # Processes.

    @property
    def state(self) -> MeshState:
        """Who runs, as the supervisor knows it now. Raises ServiceUnavailable when the mesh has stopped."""
        state = read_state(self.folder)
        if state is None:
            raise ServiceUnavailable("the mesh has stopped in the middle of an experiment")
        return state

    @property
    def address(self) -> str:
        """Where the gateway listens."""
        return self.state.address

    def record(self, name: str) -> ProcessRecord:
        """The process called `name`."""
        return next(record for record in self.state.processes if record.name == name)

    def names(self, kind: str) -> list[str]:
        """Names of the processes of a kind, such as "worker"."""
        return [record.name for record in self.state.processes if record.name.split("-")[0] == kind]

    def workers_of(self, shard: int) -> list[str]:
        """Names of the query workers of a shard."""
        return [name for name in self.names("worker") if int(name.partition("-")[2]) % self.shards == shard]

    def signal(self, number: signal.Signals, *names: str) -> None:
        """Send a signal to processes, each by its pid."""
        for name in names:
            os.kill(self.record(name).pid, number)

    async def kill(self, *names: str) -> dict[str, int]:
        """SIGKILL processes at once; their pids."""
        for name in names:
            await self._wait_for_room(name)
        pids = {name: self.record(name).pid for name in names}
        self.signal(signal.SIGKILL, *names)
        return pids

    async def wait_for_others(self, pids: dict[str, int]) -> None:
        """Return when processes run under other pids than these. Raises ServiceUnavailable after RESTART_S_MAX."""
        for name, pid in pids.items():
            await eventually(partial(self._runs_anew, name, pid), f"another {name}", RESTART_S_MAX)

    def _runs_anew(self, name: str, pid: int) -> bool:
        record = self.record(name)
        return record.pid != pid and record.process() is not None

    async def restart(self, *names: str) -> None:
        """Kill processes and return when they run again, with what `override` says by now."""
        await self.wait_for_others(await self.kill(*names))

    def override(self, name: str, environment: dict[str, str]) -> None:
        """Variables that a process gets on top when it is started the next time; none takes them back."""
        self._overrides.setdefault(name, {}).clear()
        self._overrides[name].update(environment)

    def resume_all(self) -> None:
        """Let go on whatever was stopped."""
        for record in self.state.processes:
            process = record.process()
            if process is not None:
                process.resume()

    async def _wait_for_room(self, name: str) -> None:
        """Return when the supervisor starts a process again that dies now, and count that death.

        It gives up a process that dies too often within a time.
        """
        deaths = self._deaths.setdefault(name, deque(maxlen=DEATHS_MAX - 1))
        if len(deaths) == DEATHS_MAX - 1:
            room_at_s = deaths[0] + DEATHS_WINDOW_S + DEATH_NOTED_S_MAX
            await asyncio.sleep(max(0.0, room_at_s - time.monotonic()))
        deaths.append(time.monotonic())

    # State.

    async def status(self) -> MeshStatus | None:
        """GetStatus, None while nobody answers."""

        def ask() -> MeshStatus | None:
            with Client(self.address) as client:
                try:
                    return client.status(timeout_s=STATUS_S_MAX)
                except PlanmeshError:
                    return None

        return await asyncio.to_thread(ask)

    async def until_loading(self, phase: str, load: asyncio.Task[int]) -> bool:
        """Return True when a load is in a phase, False when it had ended before it was seen there."""
        async with AsyncClient(self.address) as client:
            while not load.done():
                graphs = await client.graphs(timeout_s=STATUS_S_MAX)
                if any(graph.loading is not None and graph.loading.phase == phase for graph in graphs):
                    return True
                await asyncio.sleep(LOOK_CLOSELY_S)
        return False

    def connect_redis(self) -> redis.asyncio.Redis:
        """The broker; whoever calls this closes it."""
        return connect_async(self.redis_url)

    async def unsettled(self) -> str:
        """What is not as it was before any fault: a process that is away, or work that is left over; "" when it is."""
        status = await self.status()
        if status is None:
            return "the gateway does not answer"
        away = [f"{process.name}: {process.message or 'away'}" for process in status.processes if not process.up]
        if away or not status.ready:
            return "; ".join(away) or "the mesh is not ready"
        live = sum(shard.workers for shard in status.shards)
        if live != self.workers:
            return f"{live} live workers, expected {self.workers}"
        pending = sum(shard.pending for shard in status.shards)
        connection = self.connect_redis()
        try:
            queued = sum([await connection.llen(query_queue(shard)) for shard in range(self.shards)])
        except (redis.RedisError, OSError) as error:
            return f"Redis: {error}"
        finally:
            await connection.aclose()
        return f"{pending} requests and {queued} tasks {LEFT_OVER}" if pending or queued else ""

    async def settle(self, within_s: float, *, idle: bool = True) -> str:
        """Wait until `unsettled` has nothing to say any more; what it still says after `within_s`.

        Unless `idle` is asked for, work that is under way does not matter.
        """
        deadline_s = time.monotonic() + within_s
        while True:
            problem = await self.unsettled()
            if not problem or (not idle and LEFT_OVER in problem) or time.monotonic() > deadline_s:
                return problem
            await asyncio.sleep(LOOK_EVERY_S)

    # Starting parts.

    def adapt(self, spec: ChildSpec) -> ChildSpec:
        """Return what to run instead of a process: through the proxies, and with what `override` says at each start."""
        self.redis_url = spec.environment.get(REDIS_VARIABLE, self.redis_url)
        environment = {**spec.environment, **self._through_proxies(spec)}
        overrides = self._overrides.setdefault(spec.name, {})
        return replace(spec, environment=ChainMap(overrides, environment))

    def _through_proxies(self, spec: ChildSpec) -> dict[str, str]:
        if self.proxies is None:
            return {}
        changed: dict[str, str] = {}
        for variable, line in LINES.get(spec.name.split("-")[0], {}).items():
            name = f"{spec.name}{line}" if line.startswith("-") else line
            target = spec.environment[variable]
            if variable != REDIS_VARIABLE:
                changed[variable] = f"{LOOPBACK}:{self.proxies.port(name, target)}"
                continue
            parts = urlsplit(target)
            port = self.proxies.port(name, f"{parts.hostname}:{parts.port}")
            secret = parts.netloc.rpartition("@")[0]
            changed[variable] = urlunsplit(parts._replace(netloc=f"{secret}@{LOOPBACK}:{port}"))
        return changed


async def eventually(look: Callable[[], bool], what: str, within_s: float) -> None:
    """Return when `look` says so; raises ServiceUnavailable when it does not in time."""
    deadline_s = time.monotonic() + within_s
    while not look():
        if time.monotonic() > deadline_s:
            raise ServiceUnavailable(f"{what} did not come within {within_s:g} s")
        await asyncio.sleep(LOOK_EVERY_S)


@asynccontextmanager
async def chaos_mesh(
    data: Path, *, workers: int, shards: int, proxies: Proxies | None, announce: Callable[[str], None]
) -> AsyncIterator[ChaosMesh]:
    """Start a mesh and stop it at the end, whatever became of it. Runs on the main thread, for it takes signals.

    Raises what the supervisor does. When the mesh ends meanwhile, because a process is given up or by Ctrl-C, whoever
    uses it is ended too: ServiceUnavailable.
    """
    options = MeshOptions(data, workers, shards, port=0)
    mesh = ChaosMesh(options, proxies)
    supervisor = Supervisor(options, announce, mesh.adapt)
    ready = asyncio.Event()
    running = asyncio.create_task(supervisor.run(lambda _: ready.set()), name="supervisor")
    started = asyncio.create_task(ready.wait())
    await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    if not ready.is_set():
        await running
        raise ServiceUnavailable("stopped before the mesh was ready")
    user = asyncio.current_task()
    assert user is not None

    def end_user(_: asyncio.Task[None]) -> None:
        user.cancel("the mesh ended")

    running.add_done_callback(end_user)
    try:
        yield mesh
    except asyncio.CancelledError:
        if not running.done():
            raise
        user.uncancel()
        running.result()
        raise ServiceUnavailable("the mesh was stopped in the middle of an experiment") from None
    finally:
        running.remove_done_callback(end_user)
        if not running.done():
            mesh.resume_all()
            supervisor.stop()
        await asyncio.wait({running})
    running.result()
