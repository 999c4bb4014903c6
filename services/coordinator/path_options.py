"""What a request asks of its path beyond the cheapest one from start to goal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from planmesh.internal.v1 import coordinator_pb2
from services.coordinator.avoidance import NOTHING, AvoidSpec


@dataclass(frozen=True, slots=True)
class PathOptions:
    """What a path avoids, passes and may cost, and how many alternatives are wanted.

    `overlap_max` is None if alternatives may share as much as they do.
    """

    avoid: AvoidSpec = NOTHING
    waypoints: tuple[str, ...] = ()
    cost_max: float = float("inf")
    alternatives: int = 0
    overlap_max: float | None = None

    @classmethod
    def of(cls, request: coordinator_pb2.ComputePlanRequest | coordinator_pb2.ComputePlansRequest) -> PathOptions:
        """Return the options of a request; PLAIN if it has none."""
        options = cls(
            AvoidSpec.of(request.avoid),
            tuple(request.waypoints),
            request.max_cost if request.HasField("max_cost") else float("inf"),
            request.alternatives,
            request.max_overlap if request.HasField("max_overlap") else None,
        )
        return PLAIN if options == PLAIN else options


PLAIN: Final = PathOptions()
"""The cheapest path is wanted. It is compared by identity."""
