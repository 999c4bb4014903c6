"""Kinds of calls. Each has separate bounds, so that calls of one kind cannot block those of another."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from planmesh.settings import GatewaySettings


class Kind(enum.StrEnum):
    """A kind of calls, by the work that they cause."""

    PLAN = "plan"
    """One request to the coordinator or a store, answered in milliseconds."""
    BATCH = "batch"
    """Many plans on one stream."""
    READ = "read"
    """Facts about graphs and nodes."""
    LOAD = "load"
    """A load or an export of a whole graph: a stream that lasts for minutes or hours."""
    UPDATE = "update"
    """Batches of changes of a graph, one by one or on a stream."""
    ADMIN = "admin"
    """Calls of an operator, which must pass while all other kinds are at their bounds."""


KIND_OF: Final[Mapping[str, Kind]] = {
    "planmesh.v1.PlanService/Plan": Kind.PLAN,
    "planmesh.v1.PlanService/PlanMany": Kind.BATCH,
    "planmesh.v1.PlanService/PlanMatrix": Kind.BATCH,
    "planmesh.v1.PlanService/GetNeighbors": Kind.PLAN,
    "planmesh.v1.PlanService/GetReachable": Kind.BATCH,
    "planmesh.v1.PlanService/GetBlastRadius": Kind.BATCH,
    "planmesh.v1.PlanService/MatchPattern": Kind.PLAN,
    "planmesh.v1.GraphService/LoadGraph": Kind.LOAD,
    "planmesh.v1.GraphService/UpdateGraph": Kind.UPDATE,
    "planmesh.v1.GraphService/UpdateGraphStream": Kind.UPDATE,
    "planmesh.v1.GraphService/UnloadGraph": Kind.ADMIN,
    "planmesh.v1.GraphService/GetGraph": Kind.READ,
    "planmesh.v1.GraphService/ListGraphs": Kind.READ,
    "planmesh.v1.GraphService/GetNode": Kind.READ,
    "planmesh.v1.GraphService/ListPartitions": Kind.READ,
    "planmesh.v1.GraphService/SampleNodes": Kind.READ,
    "planmesh.v1.GraphService/ExportGraph": Kind.LOAD,
    "planmesh.v1.MeshService/Ping": Kind.READ,
    "planmesh.v1.MeshService/GetStatus": Kind.ADMIN,
}
"""Every rpc of the public API. A test compares it with the protos."""


@dataclass(frozen=True, slots=True)
class KindBounds:
    """The bounds of one kind, each with the name of its setting, which errors report to refused callers."""

    in_flight_max: int
    in_flight_setting: str
    rate_per_s: float
    """Average rate of one caller; 0: no limit."""
    rate_setting: str
    """Kinds with the same setting share one rate."""


def share(bound: int, processes: int) -> int:
    """Return the share of one of the gateway's processes in a bound of the whole gateway, rounded up."""
    return -(-bound // max(processes, 1))


def bounds_of(settings: GatewaySettings) -> dict[Kind, KindBounds]:
    """Return the bounds of every kind, for one process: its share of the calls in flight, and the whole rates.

    A caller with one connection stays on one process, so a share of a rate would refuse it too early.
    Plans and the pairs of batches share one rate, because each pair is a plan.
    """
    settings_of = {
        Kind.PLAN: ("gateway_in_flight_max", "gateway_rate_per_s"),
        Kind.BATCH: ("gateway_batches_in_flight_max", "gateway_rate_per_s"),
        Kind.READ: ("gateway_reads_in_flight_max", "gateway_read_rate_per_s"),
        Kind.LOAD: ("gateway_loads_in_flight_max", "gateway_load_rate_per_s"),
        Kind.UPDATE: ("gateway_updates_in_flight_max", "gateway_update_rate_per_s"),
        Kind.ADMIN: ("gateway_admin_in_flight_max", "gateway_admin_rate_per_s"),
    }
    return {
        kind: KindBounds(
            share(getattr(settings, in_flight), settings.gateway_processes), in_flight, getattr(settings, rate), rate
        )
        for kind, (in_flight, rate) in settings_of.items()
    }
