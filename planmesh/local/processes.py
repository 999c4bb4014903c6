"""The commands and environments of a local mesh's processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from planmesh.local.child import ChildSpec
from planmesh.local.folders import DataFolder
from planmesh.local.options import MeshOptions
from planmesh.local.ports import LOOPBACK
from planmesh.local.readiness import coordinator_ready, health_serving

OWN_VARIABLES: Final = ("PLANMESH_DATA", "PLANMESH_ADDRESS", "PLANMESH_TEST_DATA")
"""Variables for the command line and the tests, which services do not accept."""

REDIS_VARIABLE: Final = "PLANMESH_REDIS_URL"
REDIS_SERVERS_VARIABLE: Final = "PLANMESH_REDIS_URLS"

WARM_UPS: Final = ("search", "graph")
"""The two halves of the kernels, compiled in parallel; see planmesh.local.warm."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses of the processes. Internal ones are unix sockets in a folder that only its owner may enter."""

    gateway: str
    coordinator: str
    partition: str

    @classmethod
    def within(cls, runtime_folder: Path, port: int) -> Addresses:
        """Return the addresses of a mesh whose gateway has `port`."""
        return cls(
            gateway=f"{LOOPBACK}:{port}",
            coordinator=f"unix:{runtime_folder / 'coordinator.sock'}",
            partition=f"unix:{runtime_folder / 'partition.sock'}",
        )


def base_environment(
    options: MeshOptions, folder: DataFolder, addresses: Addresses, redis_urls: Sequence[str]
) -> dict[str, str]:
    """Return the environment of every process: this one's, plus the addresses and settings of the mesh."""
    replaced = {*OWN_VARIABLES, REDIS_VARIABLE, REDIS_SERVERS_VARIABLE}
    inherited = {name: value for name, value in os.environ.items() if name not in replaced}
    redis = {REDIS_VARIABLE: redis_urls[0]} if len(redis_urls) == 1 else {REDIS_SERVERS_VARIABLE: ",".join(redis_urls)}
    return {
        "PLANMESH_LOG_FORMAT": "json",
        "PLANMESH_SHUTDOWN_GRACE_S": "5",  # shorter than STOP_S_MAX, after which the process would be killed
        **inherited,
        "PYTHONUNBUFFERED": "1",
        **redis,
        "PLANMESH_DATA": str(folder.store),
        "PLANMESH_SHARDS": str(options.shards),
        "PLANMESH_GATEWAY_LISTEN": addresses.gateway,
        "PLANMESH_COORDINATOR_LISTEN": addresses.coordinator,
        "PLANMESH_COORDINATOR_ADDRESS": addresses.coordinator,
        "PLANMESH_PARTITION_LISTEN": addresses.partition,
        "PLANMESH_PARTITION_ADDRESS": addresses.partition,
    }


def warm_spec(half: str, environment: Mapping[str, str]) -> ChildSpec:
    """Return the process that compiles one half of the kernels and ends."""
    return ChildSpec(f"warm-{half}", (sys.executable, "-m", "planmesh.local.warm", half), environment)


def partition_spec(environment: Mapping[str, str], addresses: Addresses) -> ChildSpec:
    """Return the partition service."""
    return ChildSpec(
        "partition",
        (sys.executable, "-m", "services.partition"),
        environment,
        lambda: health_serving(addresses.partition),
    )


def serving_specs(environment: Mapping[str, str], addresses: Addresses, options: MeshOptions) -> list[ChildSpec]:
    """Return the processes that need the partition service, in the order of their start, the gateway last."""
    workers = [
        ChildSpec(
            f"worker-{number}",
            (sys.executable, "-m", "workers", "--role", "query", "--shard", str(number % options.shards)),
            {**environment, "PLANMESH_WORKER_ROLE": "query", "PLANMESH_WORKER_SHARD": str(number % options.shards)},
        )
        for number in range(options.workers)
    ]
    build = ChildSpec(
        "build", (sys.executable, "-m", "workers", "--role", "build"), {**environment, "PLANMESH_WORKER_ROLE": "build"}
    )
    coordinator = ChildSpec(
        "coordinator",
        (sys.executable, "-m", "services.coordinator"),
        environment,
        lambda: coordinator_ready(addresses.coordinator, options.workers),
    )
    chosen = options.gateway_processes
    gateway = ChildSpec(
        "gateway",
        (sys.executable, "-m", "services.gateway"),
        {**environment, **({} if chosen is None else {"PLANMESH_GATEWAY_PROCESSES": str(chosen)})},
        lambda: health_serving(addresses.gateway),
    )
    return [coordinator, *workers, build, gateway]
