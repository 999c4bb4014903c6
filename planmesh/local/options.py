"""The options of `planmesh up`, checked and completed."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from planmesh.errors import InvalidRequest
from planmesh.redis_urls import read_redis_urls
from planmesh.settings import GATEWAY_PROCESSES_MAX

DATA_DEFAULT: Final = Path(".planmesh")
"""Data folder of a mesh, in the current folder; PLANMESH_DATA names another."""

PORT_DEFAULT: Final = 50051

WORKERS_MIN_DEFAULT: Final = 2
WORKERS_MAX_DEFAULT: Final = 4
"""Without --workers there is one query worker per processor, at most this many and at least two.

Each search thread keeps a core busy, and a shard needs two workers to survive the death of one.
"""

WORKERS_MAX: Final = 256
"""Query workers on one machine. A larger number is probably a mistake."""


@dataclass(frozen=True, slots=True)
class MeshOptions:
    """The options of a local mesh.

    `port` 0 takes a free port. `redis_url` are the URLs of running Redis servers, separated by commas; if it is empty,
    the mesh starts `redis_servers` private ones. `gateway_processes` 0 means one per core; None leaves
    them to PLANMESH_GATEWAY_PROCESSES.
    """

    data: Path
    workers: int
    shards: int
    port: int
    redis_url: str = ""
    redis_servers: int = 1
    gateway_processes: int | None = None

    @property
    def replicas(self) -> int:
        """Number of workers of the shard with the fewest."""
        return self.workers // self.shards

    def to_json(self) -> dict[str, Any]:
        """Return the options as plain values."""
        return {**asdict(self), "data": str(self.data)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> MeshOptions:
        """Restore options from `to_json`."""
        return cls(**{**values, "data": Path(values["data"])})


def mesh_options(
    data: Path | None = None,
    workers: int | None = None,
    shards: int | None = None,
    port: int = PORT_DEFAULT,
    redis_url: str = "",
    redis_servers: int | None = None,
    gateway_processes: int | None = None,
) -> MeshOptions:
    """Check the given options and fill in the rest.

    Raises InvalidRequest if a number is out of bounds.
    """
    cpus = os.cpu_count() or 1
    chosen_workers = min(max(cpus, WORKERS_MIN_DEFAULT), WORKERS_MAX_DEFAULT) if workers is None else workers
    if not 1 <= chosen_workers <= WORKERS_MAX:
        raise InvalidRequest(f"--workers: expected 1 to {WORKERS_MAX}, got {chosen_workers}")
    chosen_shards = max(chosen_workers // 2, 1) if shards is None else shards
    if not 1 <= chosen_shards <= chosen_workers:
        raise InvalidRequest(
            f"--shards: expected 1 to {chosen_workers} (each shard needs a worker), got {chosen_shards}"
        )
    if not 0 <= port <= 65535:
        raise InvalidRequest(f"--port: expected 0 (any free port) to 65535, got {port}")
    if redis_url:
        try:
            redis_url = ",".join(read_redis_urls(redis_url))
        except ValueError as error:
            raise InvalidRequest(f"--redis: {error}") from error
    if redis_url and redis_servers is not None:
        raise InvalidRequest("--redis-servers: expected none beside --redis, which names running servers, got both")
    chosen_servers = 1 if redis_servers is None else redis_servers
    if not 1 <= chosen_servers <= chosen_shards:
        raise InvalidRequest(
            f"--redis-servers: expected 1 to {chosen_shards} (each has the queues of a shard or more), got "
            f"{chosen_servers}"
        )
    if gateway_processes is not None and not 0 <= gateway_processes <= GATEWAY_PROCESSES_MAX:
        raise InvalidRequest(
            f"--gateway-processes: expected 0 (one per core) to {GATEWAY_PROCESSES_MAX}, got {gateway_processes}"
        )
    folder = (data or default_data()).absolute()
    return MeshOptions(folder, chosen_workers, chosen_shards, port, redis_url, chosen_servers, gateway_processes)


def default_data() -> Path:
    """Return PLANMESH_DATA, or else `.planmesh` in the current folder."""
    return Path(os.environ.get("PLANMESH_DATA") or DATA_DEFAULT)
