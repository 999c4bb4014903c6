"""The servicer of PlanService: it checks and admits calls, and forwards them to the coordinator and back.

Pattern queries go to the partition service, which knows the stores.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from planmesh.rpc.interceptors import Context
from planmesh.rpc.server import Service
from planmesh.v1 import plan_pb2, plan_pb2_grpc
from services.gateway import reach_validation, validation
from services.gateway.admission import Admission
from services.gateway.coordinators import Coordinators
from services.gateway.downstream import Downstream, deadline_of

PLAN_DEADLINE_S_DEFAULT: Final = 10.0
PLAN_DEADLINE_S_MAX: Final = 60.0
"""Longest deadline of one plan. No caller waits longer, and abandoned work must not pile up."""
PLAN_MANY_DEADLINE_S_DEFAULT: Final = 60.0
PLAN_MANY_DEADLINE_S_MAX: Final = 600.0
"""Longest deadline of a batch: 60 ms for each of 10,000 pairs, if they were answered one after another."""


class PlanServicer(plan_pb2_grpc.PlanServiceServicer):
    """Forwards calls to the coordinator and the partition service.

    Responses stay serialised: ComputePlanResponse has the wire format of PlanResponse, and so on. Parsing a plan of 700
    steps and serialising it again would block the event loop for 0.07 ms.
    """

    def __init__(
        self, coordinators: Coordinators, coordinator: Downstream, partition: Downstream, admission: Admission
    ) -> None:
        self._coordinators = coordinators
        self._coordinator = coordinator
        self._partition = partition
        self._admission = admission

    def service(self) -> Service:
        """Return the handlers for the server, with raw responses."""
        service = Service.of(plan_pb2_grpc.add_PlanServiceServicer_to_server, self)
        return service.with_raw_responses(
            ("Plan", "PlanMany", "PlanMatrix", "GetNeighbors", "GetReachable", "GetBlastRadius", "MatchPattern")
        )

    async def Plan(self, request: plan_pb2.PlanRequest, context: Context) -> Any:
        """Compute one plan."""
        with self._admission.admit(context, "planmesh.v1.PlanService/Plan") as admitted:
            validation.check_plan(request)
            # Each is as much work as a plan.
            admitted.charge(request.alternatives + len(request.waypoints))
            deadline = deadline_of(context, default_s=PLAN_DEADLINE_S_DEFAULT, max_s=PLAN_DEADLINE_S_MAX)
            return await self._coordinators.plan(request.SerializeToString(), deadline)

    async def PlanMany(self, request: plan_pb2.PlanManyRequest, context: Context) -> AsyncIterator[Any]:
        """Stream a plan or an error for each pair, in any order. Every pair is charged as one plan."""
        pairs = len(request.pairs)
        counted = min(pairs, validation.PAIRS_MAX)
        with self._admission.admit(context, "planmesh.v1.PlanService/PlanMany", pairs=counted) as admitted:
            validation.check_plan_many(request)
            admitted.charge(pairs - 1 + pairs * (request.alternatives + len(request.waypoints)))
            deadline = deadline_of(context, default_s=PLAN_MANY_DEADLINE_S_DEFAULT, max_s=PLAN_MANY_DEADLINE_S_MAX)
            async for answer in self._coordinator.server_stream("ComputePlans", request.SerializeToString(), deadline):
                yield answer

    async def PlanMatrix(self, request: plan_pb2.PlanMatrixRequest, context: Context) -> AsyncIterator[Any]:
        """Stream the rows of a matrix of costs.

        Every source and every target is charged as one plan, because each needs the searches of one end of a plan and
        its share of the rows.
        """
        ends = len(request.sources) + len(request.targets)
        counted = min(ends, 2 * validation.MATRIX_SIDE_MAX)
        with self._admission.admit(context, "planmesh.v1.PlanService/PlanMatrix", pairs=counted) as admitted:
            validation.check_plan_matrix(request)
            admitted.charge(ends - 1)
            deadline = deadline_of(context, default_s=PLAN_MANY_DEADLINE_S_DEFAULT, max_s=PLAN_MANY_DEADLINE_S_MAX)
            async for rows in self._coordinator.server_stream("ComputeMatrix", request.SerializeToString(), deadline):
                yield rows

    async def GetNeighbors(self, request: plan_pb2.GetNeighborsRequest, context: Context) -> Any:
        """Return the nodes within `depth` edges of a node."""
        with self._admission.admit(context, "planmesh.v1.PlanService/GetNeighbors"):
            validation.check_neighbors(request)
            deadline = deadline_of(context, default_s=PLAN_DEADLINE_S_DEFAULT, max_s=PLAN_DEADLINE_S_MAX)
            return await self._coordinator.unary("ComputeNeighbors", request.SerializeToString(), deadline)

    async def GetReachable(self, request: plan_pb2.GetReachableRequest, context: Context) -> AsyncIterator[Any]:
        """Stream the nodes that a node reaches, or that reach it."""
        with self._admission.admit(context, "planmesh.v1.PlanService/GetReachable"):
            reach_validation.check_reachable(request)
            deadline = deadline_of(context, default_s=PLAN_MANY_DEADLINE_S_DEFAULT, max_s=PLAN_MANY_DEADLINE_S_MAX)
            async for hits in self._coordinator.server_stream(
                "ComputeReachable", request.SerializeToString(), deadline
            ):
                yield hits

    async def GetBlastRadius(self, request: plan_pb2.GetBlastRadiusRequest, context: Context) -> AsyncIterator[Any]:
        """Stream the nodes that a failure takes away, or makes dearer to reach. Every source is charged as one plan."""
        sources = max(1, len(request.sources))
        counted = min(sources, reach_validation.SOURCES_MAX)
        with self._admission.admit(context, "planmesh.v1.PlanService/GetBlastRadius", pairs=counted) as admitted:
            reach_validation.check_blast_radius(request)
            admitted.charge(sources - 1)
            deadline = deadline_of(context, default_s=PLAN_MANY_DEADLINE_S_DEFAULT, max_s=PLAN_MANY_DEADLINE_S_MAX)
            async for affected in self._coordinator.server_stream(
                "ComputeBlastRadius", request.SerializeToString(), deadline
            ):
                yield affected

    async def MatchPattern(self, request: plan_pb2.MatchPatternRequest, context: Context) -> Any:
        """Run a pattern query on the store that the graph lives in."""
        with self._admission.admit(context, "planmesh.v1.PlanService/MatchPattern"):
            validation.check_pattern(request)
            deadline = deadline_of(context, default_s=PLAN_DEADLINE_S_DEFAULT, max_s=PLAN_DEADLINE_S_MAX)
            return await self._partition.unary("AskStore", request.SerializeToString(), deadline)
