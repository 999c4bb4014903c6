"""What `planmesh up` was asked for, with every choice made."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from planmesh.errors import InvalidRequest

DATA_DEFAULT: Final = Path(".planmesh")
"""Data folder of a mesh, below the current folder; PLANMESH_DATA names another."""

PORT_DEFAULT: Final = 50051

WORKERS_MIN_DEFAULT: Final = 2
WORKERS_MAX_DEFAULT: Final = 4
"""Query workers without --workers: one a processor, within these. Each worker thread of search keeps a core busy, and
two are the fewest that let a shard survive the death of one."""

WORKERS_MAX: Final = 256
"""Query workers of one machine; more processes than that is a mistake in a command line."""


@dataclass(frozen=True, slots=True)
class MeshOptions:
    """A local mesh. `port` 0 takes a free one; `redis_url` empty means a private redis-server."""

    data: Path
    workers: int
    shards: int
    port: int
    redis_url: str = ""

    @property
    def replicas(self) -> int:
        """Worker processes of the shard that has fewest."""
        return self.workers // self.shards

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "data": str(self.data)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> MeshOptions:
        """The inverse of `to_json`."""
        return cls(**{**values, "data": Path(values["data"])})


def mesh_options(
    data: Path | None = None,
    workers: int | None = None,
    shards: int | None = None,
    port: int = PORT_DEFAULT,
    redis_url: str = "",
) -> MeshOptions:
    """Check what was asked and fill in the rest.

    Raises InvalidRequest when a number is out of its bounds.
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
    if redis_url and not redis_url.startswith(("redis://", "rediss://", "unix://")):
        raise InvalidRequest(f"--redis: expected a URL such as redis://:password@host:6379/0, got {redis_url!r}")
    return MeshOptions((data or default_data()).absolute(), chosen_workers, chosen_shards, port, redis_url)


def default_data() -> Path:
    """PLANMESH_DATA, else `.planmesh` below the current folder."""
    return Path(os.environ.get("PLANMESH_DATA") or DATA_DEFAULT)
