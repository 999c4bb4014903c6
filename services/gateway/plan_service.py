"""PlanService: checked, let in, handed to the coordinator, and the answer handed back as it came.

Patterns go to the partition service, which knows the stores.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from planmesh.rpc.interceptors import Context
from planmesh.rpc.server import Service
from planmesh.v1 import plan_pb2, plan_pb2_grpc
from services.gateway import validation
from services.gateway.admission import Admission
from services.gateway.downstream import Downstream, deadline_of

PLAN_DEADLINE_S_DEFAULT: Final = 10.0
PLAN_DEADLINE_S_MAX: Final = 60.0
"""Nobody waits longer for one plan, and what nobody waits for must not pile up."""
PLAN_MANY_DEADLINE_S_DEFAULT: Final = 60.0
PLAN_MANY_DEADLINE_S_MAX: Final = 600.0
"""A batch of 10,000 pairs gets 60 ms for each, were they answered one by one."""


class PlanServicer(plan_pb2_grpc.PlanServiceServicer):
    """Every response is bytes: ComputePlan's response is PlanResponse on the wire, and so on.

    Parsing a plan of 700 steps and serializing it again would hold the event loop for 0.07 ms.
    """

    def __init__(self, coordinator: Downstream, partition: Downstream, admission: Admission) -> None:
        self._coordinator = coordinator
        self._partition = partition
        self._admission = admission

    def service(self) -> Service:
        """The handlers for the server."""
        service = Service.of(plan_pb2_grpc.add_PlanServiceServicer_to_server, self)
        return service.with_raw_responses(("Plan", "PlanMany", "GetNeighbors", "MatchPattern"))

    async def Plan(self, request: plan_pb2.PlanRequest, context: Context) -> Any:
        """One plan."""
        with self._admission.admit(context, "planmesh.v1.PlanService/Plan"):
            validation.check_plan(request)
            deadline = deadline_of(context, default_s=PLAN_DEADLINE_S_DEFAULT, max_s=PLAN_DEADLINE_S_MAX)
            return await self._coordinator.unary("ComputePlan", request.SerializeToString(), deadline)

    async def PlanMany(self, request: plan_pb2.PlanManyRequest, context: Context) -> AsyncIterator[Any]:
        """A stream of plans."""
        pairs = len(request.pairs)
        places = min(pairs, validation.PAIRS_MAX)
        with self._admission.admit(context, "planmesh.v1.PlanService/PlanMany", pairs=places) as admitted:
            validation.check_plan_many(request)
            admitted.charge(pairs - 1)
            deadline = deadline_of(context, default_s=PLAN_MANY_DEADLINE_S_DEFAULT, max_s=PLAN_MANY_DEADLINE_S_MAX)
            async for answer in self._coordinator.server_stream("ComputePlans", request.SerializeToString(), deadline):
                yield answer

    async def GetNeighbors(self, request: plan_pb2.GetNeighborsRequest, context: Context) -> Any:
        """The nodes around a node."""
        with self._admission.admit(context, "planmesh.v1.PlanService/GetNeighbors"):
            validation.check_neighbors(request)
            deadline = deadline_of(context, default_s=PLAN_DEADLINE_S_DEFAULT, max_s=PLAN_DEADLINE_S_MAX)
            return await self._coordinator.unary("ComputeNeighbors", request.SerializeToString(), deadline)

    async def MatchPattern(self, request: plan_pb2.MatchPatternRequest, context: Context) -> Any:
        """A pattern, asked of the graph's own store."""
        with self._admission.admit(context, "planmesh.v1.PlanService/MatchPattern"):
            validation.check_pattern(request)
            deadline = deadline_of(context, default_s=PLAN_DEADLINE_S_DEFAULT, max_s=PLAN_DEADLINE_S_MAX)
            return await self._partition.unary("AskStore", request.SerializeToString(), deadline)
