"""Counts of the coordinator since its start, for GetStatus and `planmesh measure`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from planmesh.v1 import mesh_pb2


@dataclass(slots=True)
class Counters:
    """The fields of mesh.proto's Counters, where each is documented."""

    plans: int = 0
    tasks: int = 0
    task_items: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    hedges: int = 0
    retries: int = 0
    duplicate_replies: int = 0
    failed: int = 0
    joined: int = 0

    def to_proto(self) -> mesh_pb2.Counters:
        """Return a protobuf message with the current values."""
        return mesh_pb2.Counters(**dataclasses.asdict(self))
