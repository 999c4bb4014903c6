"""A local mesh for fault injection, which the experiment itself starts in a private folder."""

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
from planmesh.dispatch.queues import query_queue, server_of
from planmesh.errors import PlanmeshError, ServiceUnavailable
from planmesh.local.child import DEATHS_MAX, DEATHS_WINDOW_S, ChildSpec
from planmesh.local.folders import DataFolder
from planmesh.local.options import MeshOptions
from planmesh.local.ports import LOOPBACK
from planmesh.local.processes import REDIS_SERVERS_VARIABLE, REDIS_VARIABLE
from planmesh.local.state import MeshState, ProcessRecord, read_state
from planmesh.local.supervisor import Supervisor

POLL_S: Final = 0.1

LOAD_POLL_S: Final = 0.005
"""Interval between polls of a load, whose phases last some tenths of a second."""

RESTART_S_MAX: Final = 30.0
"""From the end of a process to its next start: the supervisor waits for 8 s at most."""

DEATH_NOTED_S_MAX: Final = 2.0
"""Until the supervisor notices the end of a process, on a busy machine."""

STATUS_S_MAX: Final = 5.0

LEFT_OVER: Final = "are left over"

LINES: Final[dict[str, dict[str, str]]] = {
    "gateway": {
        "PLANMESH_COORDINATOR_ADDRESS": "gateway-coordinator",
        "PLANMESH_PARTITION_ADDRESS": "gateway-partition",
    },
    "coordinator": {REDIS_VARIABLE: "coordinator-redis", "PLANMESH_PARTITION_ADDRESS": "coordinator-partition"},
    "worker": {REDIS_VARIABLE: "-redis"},
}
"""For each kind of process: the variables with addresses of other processes, and the names of those lines.

A worker's line is named after the worker.
"""


class ChaosMesh:
    """The processes of a running mesh. Reads pids each time, because killed processes restart under other pids."""

    def __init__(self, options: MeshOptions, proxies: Proxies | None) -> None:
        self.folder = DataFolder(options.data)
        self.workers = options.workers
        self.shards = options.shards
        self.proxies = proxies
        self.redis_urls: tuple[str, ...] = ()
        """The own addresses of the Redis servers, never those of proxies."""
        self._overrides: dict[str, dict[str, str]] = {}
        self._deaths: dict[str, deque[float]] = {}

    # Processes.

    @property
    def state(self) -> MeshState:
        """The processes that the supervisor last recorded. Raises ServiceUnavailable after the mesh has stopped."""
        state = read_state(self.folder)
        if state is None:
            raise ServiceUnavailable("the mesh stopped during an experiment")
        return state

    @property
    def address(self) -> str:
        """The gateway's address."""
        return self.state.address

    def record(self, name: str) -> ProcessRecord:
        """Return the record of the process called `name`."""
        return next(record for record in self.state.processes if record.name == name)

    def names(self, kind: str) -> list[str]:
        """Return the names of all processes of a kind, such as "worker"."""
        return [record.name for record in self.state.processes if record.name.split("-")[0] == kind]

    def workers_of(self, shard: int) -> list[str]:
        """Return the names of a shard's query workers."""
        return [name for name in self.names("worker") if int(name.partition("-")[2]) % self.shards == shard]

    def signal(self, number: signal.Signals, *names: str) -> None:
        """Send a signal to each of the processes."""
        for name in names:
            os.kill(self.record(name).pid, number)

    async def kill(self, *names: str) -> dict[str, int]:
        """Send SIGKILL to all processes at once, and return their pids."""
        for name in names:
            await self._wait_for_room(name)
        pids = {name: self.record(name).pid for name in names}
        self.signal(signal.SIGKILL, *names)
        return pids

    async def wait_for_others(self, pids: dict[str, int]) -> None:
        """Return when the processes run under pids other than these. Raises ServiceUnavailable after RESTART_S_MAX."""
        for name, pid in pids.items():
            await eventually(partial(self._has_restarted, name, pid), f"another {name}", RESTART_S_MAX)

    def _has_restarted(self, name: str, pid: int) -> bool:
        record = self.record(name)
        return record.pid != pid and record.process() is not None

    async def restart(self, *names: str) -> None:
        """Kill processes, and return when they have restarted with their current overrides."""
        await self.wait_for_others(await self.kill(*names))

    def override(self, name: str, environment: dict[str, str]) -> None:
        """Set the variables that a process gets in addition from its next start; an empty dict removes them."""
        self._overrides.setdefault(name, {}).clear()
        self._overrides[name].update(environment)

    def resume_all(self) -> None:
        """Send SIGCONT to every process."""
        for record in self.state.processes:
            process = record.process()
            if process is not None:
                process.resume()

    async def _wait_for_room(self, name: str) -> None:
        """Wait until one more death would not make the supervisor give the process up, and record that death.

        The supervisor gives up a process that dies DEATHS_MAX times in DEATHS_WINDOW_S.
        """
        deaths = self._deaths.setdefault(name, deque(maxlen=DEATHS_MAX - 1))
        if len(deaths) == DEATHS_MAX - 1:
            room_at_s = deaths[0] + DEATHS_WINDOW_S + DEATH_NOTED_S_MAX
            await asyncio.sleep(max(0.0, room_at_s - time.monotonic()))
        deaths.append(time.monotonic())

    # State.

    async def status(self) -> MeshStatus | None:
        """Return the mesh's status, or None while the gateway does not answer."""

        def ask() -> MeshStatus | None:
            with Client(self.address) as client:
                try:
                    return client.status(timeout_s=STATUS_S_MAX)
                except PlanmeshError:
                    return None

        return await asyncio.to_thread(ask)

    async def until_loading(self, phase: str, load: asyncio.Task[int]) -> bool:
        """Return True when a load is in the phase, False when it ended before it was seen there."""
        async with AsyncClient(self.address) as client:
            while not load.done():
                graphs = await client.graphs(timeout_s=STATUS_S_MAX)
                if any(graph.loading is not None and graph.loading.phase == phase for graph in graphs):
                    return True
                await asyncio.sleep(LOAD_POLL_S)
        return False

    def connect_redis(self) -> redis.asyncio.Redis:
        """Connect to the first Redis server. The caller closes the connection."""
        return connect_async(self.redis_urls[0])

    async def queued(self) -> int:
        """Return how many query tasks wait in queues. Raises RedisError and OSError."""
        count = 0
        for shard in range(self.shards):
            connection = connect_async(self.redis_urls[server_of(shard, len(self.redis_urls))])
            try:
                count += await connection.llen(query_queue(shard))
            finally:
                await connection.aclose()
        return count

    async def unsettled(self) -> str:
        """Report what differs from before the fault: a process that is down, or unfinished work; "" if nothing."""
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
        try:
            queued = await self.queued()
        except (redis.RedisError, OSError) as error:
            return f"Redis: {error}"
        return f"{pending} requests and {queued} tasks {LEFT_OVER}" if pending or queued else ""

    async def settle(self, within_s: float, *, idle: bool = True) -> str:
        """Wait until `unsettled` reports nothing. Return what it still reports after `within_s`.

        Unfinished work does not count unless `idle` is true.
        """
        deadline_s = time.monotonic() + within_s
        while True:
            problem = await self.unsettled()
            if not problem or (not idle and LEFT_OVER in problem) or time.monotonic() > deadline_s:
                return problem
            await asyncio.sleep(POLL_S)

    # Starting processes.

    def adapt(self, spec: ChildSpec) -> ChildSpec:
        """Return the process to start instead: connected through the proxies, and with its overrides at each start."""
        urls = spec.environment.get(REDIS_SERVERS_VARIABLE) or spec.environment.get(REDIS_VARIABLE)
        if urls:
            self.redis_urls = tuple(urls.split(","))
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
            url = urlsplit(target)
            port = self.proxies.port(name, f"{url.hostname}:{url.port}")
            secret = url.netloc.rpartition("@")[0]
            changed[variable] = urlunsplit(url._replace(netloc=f"{secret}@{LOOPBACK}:{port}"))
        return changed


async def eventually(condition: Callable[[], bool], what: str, within_s: float) -> None:
    """Return when `look` returns true. Raises ServiceUnavailable after `within_s`."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise ServiceUnavailable(f"expected {what} within {within_s:g} s")
        await asyncio.sleep(POLL_S)


@asynccontextmanager
async def chaos_mesh(
    data: Path,
    *,
    workers: int,
    shards: int,
    redis_servers: int,
    proxies: Proxies | None,
    announce: Callable[[str], None],
) -> AsyncIterator[ChaosMesh]:
    """Run a mesh for the duration of the block. Call it on the main thread, because it handles signals.

    Raises the supervisor's errors. When the mesh ends during the block (a process was given up, or Ctrl-C), cancels the
    block and raises ServiceUnavailable.
    """
    options = MeshOptions(data, workers, shards, port=0, redis_servers=redis_servers)
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
        raise ServiceUnavailable("the mesh stopped during an experiment") from None
    finally:
        running.remove_done_callback(end_user)
        if not running.done():
            mesh.resume_all()
            supervisor.stop()
        await asyncio.wait({running})
    running.result()
