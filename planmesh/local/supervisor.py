"""Starts the local mesh, keeps it up, and stops it in order."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from planmesh.dispatch.queues import server_name
from planmesh.errors import BrokerUnavailable, ServiceUnavailable
from planmesh.local.child import Child, ChildSpec, exit_text
from planmesh.local.folders import DataFolder, make_runtime_folder
from planmesh.local.kernel_stamp import kernels_are_compiled, note_kernels_compiled, remove_old_kernels
from planmesh.local.options import MeshOptions
from planmesh.local.ports import free_port, require_free
from planmesh.local.processes import WARM_UPS, Addresses, base_environment, partition_spec, serving_specs, warm_spec
from planmesh.local.readiness import redis_answers, wait_until_ready
from planmesh.local.redis_server import prepare_private_redis
from planmesh.local.state import MeshState, ProcessRecord, mesh_lock, remove_runtime_folder, write_state
from planmesh.local.stop import clear_stale_state

READY_S_MAX: Final = 120.0
"""From a process's start to its readiness, on a busy machine."""

WARM_S_MAX: Final = 600.0
"""Compiling all kernels takes about a minute on two cores, the first time after an installation."""

WARM_NOTE: Final = "compiling the search kernels, which takes a minute the first time after an installation"

REDIS_ATTEMPTS_MAX: Final = 5
"""Ports tried for the private Redis, because another process may take a free port first."""

STOP_STAGES: Final = (("gateway",), ("coordinator",), ("worker", "build", "partition"), ("redis",))
"""Kinds of processes that stop together, in order: callers stop before those they call."""


class Supervisor:
    """Runs one local mesh. `announce` receives a line for the user about every event.

    `adapt` may change how a process is run. Fault injection uses it to put proxies between processes.
    """

    def __init__(
        self,
        options: MeshOptions,
        announce: Callable[[str], None],
        adapt: Callable[[ChildSpec], ChildSpec] = lambda spec: spec,
    ) -> None:
        self._options = options
        self._announce = announce
        self._adapt = adapt
        self._folder = DataFolder(options.data)
        self._children: list[Child] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._failure: ServiceUnavailable | None = None
        self._stopping = False
        self._state: MeshState | None = None

    async def run(self, on_ready: Callable[[MeshState], None]) -> None:
        """Start the mesh, call `on_ready`, and run until a signal or `stop`.

        Raises Conflict if the data folder is in use, and ServiceUnavailable or BrokerUnavailable if a process does not
        start
        or dies too often.
        """
        self._folder.create()
        with mesh_lock(self._folder):
            clear_stale_state(self._folder, self._announce)
            if self._options.port:
                require_free(self._options.port)
            self._folder.rotate_logs()
            runtime_folder = make_runtime_folder()
            sentinel = start_sentinel()
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, self._on_signal)
            try:
                await self._start_unless_stopped(runtime_folder, sentinel)
                if not self._stop.is_set():
                    self._write_state(ready=True)
                    assert self._state is not None
                    on_ready(self._state)
                    await self._stop.wait()
                if self._failure is not None:
                    raise self._failure
            finally:
                await self._stop_all()
                self._notify(sentinel, {"done": True})
                assert sentinel.stdin is not None
                sentinel.stdin.close()
                sentinel.wait()
                remove_runtime_folder(str(runtime_folder))
                self._folder.state_file.unlink(missing_ok=True)

    def stop(self) -> None:
        """Make `run` stop everything and return."""
        self._stop.set()

    def _on_signal(self) -> None:
        if self._stop.is_set():  # a second signal kills at once
            for child in self._children:
                child.kill()
        self.stop()

    async def _start_unless_stopped(self, runtime_folder: Path, sentinel: subprocess.Popen[str]) -> None:
        """Start everything, or return early if asked to stop meanwhile."""
        starting = asyncio.create_task(self._start_all(runtime_folder, sentinel))
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})
        if not starting.cancelled():
            starting.result()

    async def _start_all(self, runtime_folder: Path, sentinel: subprocess.Popen[str]) -> None:
        options, folder = self._options, self._folder
        port = options.port or free_port()
        addresses = Addresses.within(runtime_folder, port)
        servers = await self._start_redis(runtime_folder, sentinel)
        self._state = MeshState(
            supervisor=ProcessRecord.of("supervisor", os.getpid()),
            processes=(),
            address=addresses.gateway,
            coordinator_address=addresses.coordinator,
            partition_address=addresses.partition,
            redis=", ".join(shown for _, shown in servers),
            runtime_folder=str(runtime_folder),
            workers=options.workers,
            shards=options.shards,
            ready=False,
        )
        self._write_state(ready=False)
        environment = base_environment(options, folder, addresses, [url for url, _ in servers])
        if not kernels_are_compiled():
            self._announce(WARM_NOTE)
            await asyncio.gather(*(self._warm(warm_spec(half, environment), sentinel) for half in WARM_UPS))
            note_kernels_compiled()
            remove_old_kernels()
        partition = await self._launch(partition_spec(environment, addresses), sentinel)
        await self._ready(partition)
        started = [await self._launch(spec, sentinel) for spec in serving_specs(environment, addresses, options)]
        self._write_state(ready=False)
        await self._all_ready(started)
        for child in self._children:
            self._watchers.append(asyncio.create_task(self._keep_up(child, sentinel)))

    async def _start_redis(self, runtime_folder: Path, sentinel: subprocess.Popen[str]) -> list[tuple[str, str]]:
        """Start or check the Redis servers. Return the URL of each with its password, and one without it."""
        given = self._options.redis_url.split(",") if self._options.redis_url else []
        for url in given:
            if not await redis_answers(url):
                raise BrokerUnavailable(f"Redis does not answer at {without_password(url)} (--redis)")
        if given:
            return [(url, without_password(url)) for url in given]
        names = map(server_name, range(self._options.redis_servers))
        return [await self._start_private_redis(name, runtime_folder, sentinel) for name in names]

    async def _start_private_redis(
        self, name: str, runtime_folder: Path, sentinel: subprocess.Popen[str]
    ) -> tuple[str, str]:
        for _ in range(REDIS_ATTEMPTS_MAX):
            redis = prepare_private_redis(runtime_folder, free_port(), name)
            spec = ChildSpec(name, tuple(redis.command), dict(os.environ), partial(redis_answers, redis.url))
            child = await self._launch(spec, sentinel)
            try:
                await self._ready(child)
            except ServiceUnavailable as error:
                if child.running or "in use" not in error.message:
                    raise
                self._announce(f"{name}: port {redis.port} was taken in the meantime, trying another")
                self._children.remove(child)
            else:
                return redis.url, redis.public_url
        raise BrokerUnavailable(f"expected a free port for Redis, found none in {REDIS_ATTEMPTS_MAX} attempts")

    async def _warm(self, spec: ChildSpec, sentinel: subprocess.Popen[str]) -> None:
        child = Child(spec, self._folder.log_file(spec.name))
        record = await child.start()
        self._notify(sentinel, {"add": [record.pid, record.created_unix_s]})
        try:
            code = await asyncio.wait_for(child.wait(), WARM_S_MAX)
        except TimeoutError as error:
            raise ServiceUnavailable(f"compiling the kernels took over {WARM_S_MAX:g} s; {child.explain()}") from error
        finally:
            child.kill()
            self._notify(sentinel, {"remove": record.pid})
        if code != 0:
            raise ServiceUnavailable(f"compiling the kernels failed ({exit_text(code)}); {child.explain()}")

    async def _launch(self, spec: ChildSpec, sentinel: subprocess.Popen[str]) -> Child:
        child = Child(self._adapt(spec), self._folder.log_file(spec.name))
        self._children.append(child)
        await self._spawn(child, sentinel)
        return child

    async def _spawn(self, child: Child, sentinel: subprocess.Popen[str]) -> None:
        record = await child.start()
        self._notify(sentinel, {"add": [record.pid, record.created_unix_s]})

    async def _ready(self, child: Child) -> None:
        if child.spec.probe is not None:
            await wait_until_ready(child, child.spec.probe, READY_S_MAX)

    async def _all_ready(self, children: Sequence[Child]) -> None:
        """Wait until all are ready. Workers have no probe and other processes wait for them, so watch for their end."""
        ready = asyncio.create_task(self._each_ready(children))
        ended = {asyncio.create_task(child.wait()): child for child in children if child.spec.probe is None}
        try:
            await asyncio.wait([ready, *ended], return_when=asyncio.FIRST_COMPLETED)
            for task, child in ended.items():
                if task.done():
                    raise ServiceUnavailable(
                        f"{child.name} ended while the mesh started ({exit_text(task.result())}); {child.explain()}",
                        process=child.name,
                    )
            await ready
        finally:
            ready.cancel()
            for task in ended:
                task.cancel()
            await asyncio.gather(ready, *ended, return_exceptions=True)

    async def _each_ready(self, children: Sequence[Child]) -> None:
        await asyncio.gather(*(self._ready(child) for child in children))

    async def _keep_up(self, child: Child, sentinel: subprocess.Popen[str]) -> None:
        """Restart the process whenever it dies, until the mesh stops."""
        loop = asyncio.get_running_loop()
        while True:
            code = await child.wait()
            if self._stopping:
                return
            assert child.record is not None
            self._notify(sentinel, {"remove": child.record.pid})
            try:
                pause_s = child.note_death(code, loop.time())
            except ServiceUnavailable as error:
                self._failure = error
                self._stop.set()
                return
            self._announce(f"{child.name} ended ({exit_text(code)}); restarting in {pause_s:g} s")
            await asyncio.sleep(pause_s)
            if self._stopping:
                return
            await self._spawn(child, sentinel)
            self._write_state(ready=True)
            self._announce(f"{child.name} restarted (pid {child.record.pid})")

    async def _stop_all(self) -> None:
        self._stopping = True
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for stage in STOP_STAGES:
            await asyncio.gather(*(child.stop() for child in self._children if child.name.split("-")[0] in stage))

    def _write_state(self, *, ready: bool) -> None:
        assert self._state is not None
        records = tuple(child.record for child in self._children if child.record is not None)
        values = {name: getattr(self._state, name) for name in MeshState.__dataclass_fields__}
        self._state = MeshState(**{**values, "processes": records, "ready": ready})
        write_state(self._folder, self._state)

    @staticmethod
    def _notify(sentinel: subprocess.Popen[str], message: dict[str, object]) -> None:
        assert sentinel.stdin is not None
        sentinel.stdin.write(json.dumps(message) + "\n")
        sentinel.stdin.flush()


def start_sentinel() -> subprocess.Popen[str]:
    """Start the process that ends the others if this one is killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "planmesh.local.sentinel"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def without_password(url: str) -> str:
    """Return a Redis URL without its password, for display."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
