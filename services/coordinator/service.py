"""The servicer of CoordinatorService: rpcs for plans, neighbours and the coordinator's state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

import grpc

from planmesh.defaults import GRAPH_DEFAULT
from planmesh.errors import PlanmeshError
from planmesh.internal.v1 import coordinator_pb2, coordinator_pb2_grpc
from planmesh.rpc.deadline import Deadline
from planmesh.rpc.interceptors import Context
from planmesh.telemetry.trace_context import current_trace_id
from planmesh.telemetry.tracing import Telemetry
from planmesh.v1 import mesh_pb2
from services.coordinator.answer_log import AnswerLog
from services.coordinator.answer_messages import answer_messages
from services.coordinator.availability import Availability
from services.coordinator.change_feed import wanted_by
from services.coordinator.changed_plans import ChangedPlans
from services.coordinator.conversations import Conversations
from services.coordinator.counters import Counters
from services.coordinator.matrices import Matrices
from services.coordinator.neighbors import compute_neighbors
from services.coordinator.path_options import PathOptions
from services.coordinator.plan_batches import PAIRS_TOGETHER_MAX, Answer, Asked, PlanBatches
from services.coordinator.planner import Planner
from services.coordinator.questions import Question, known_detail
from services.coordinator.reach import Reaches
from services.coordinator.shard_queries import ShardQueries

DEADLINE_S_DEFAULT: Final = 10.0
DEADLINE_S_MAX: Final = 600.0
"""Longest deadline, which batches may use. The gateway bounds single plans more tightly."""

MARGIN_S_MAX: Final = 0.05
MARGIN_SHARE: Final = 0.05
"""Time reserved for the answer, even an error, to reach the caller before it hangs up: a twentieth of the remaining
time, at most 50 ms."""

BATCHES_AT_ONCE_MAX: Final = 4
PAIRS_READY_MAX: Final = BATCHES_AT_ONCE_MAX * PAIRS_TOGETHER_MAX
"""Pairs of one request that wait to be sent before no more of them are begun."""

NEIGHBORS_DEFAULT: Final = 10_000


class CoordinatorServicer(coordinator_pb2_grpc.CoordinatorServiceServicer):
    """Serves the gateways."""

    def __init__(
        self,
        planner: Planner,
        batches: PlanBatches,
        conversations: Conversations,
        matrices: Matrices,
        queries: ShardQueries,
        availability: Availability,
        telemetry: Telemetry,
        counters: Counters,
        changed: ChangedPlans,
    ) -> None:
        self._planner = planner
        self._changed = changed
        self._reaches = Reaches(queries, changed)
        self._batches = batches
        self._conversations = conversations
        self._matrices = matrices
        self._queries = queries
        self._availability = availability
        self._counters = counters
        self._log = AnswerLog(telemetry)

    async def ComputePlan(
        self, request: coordinator_pb2.ComputePlanRequest, context: Context
    ) -> coordinator_pb2.ComputePlanResponse:
        """Compute one plan."""
        question = Question.of(request)
        return coordinator_pb2.ComputePlanResponse(plan=await self._plan(question, plan_deadline(context)))

    async def ComputePlans(
        self, request: coordinator_pb2.ComputePlansRequest, context: Context
    ) -> AsyncIterator[coordinator_pb2.ComputePlansResponse]:
        """Compute a plan or an error for each pair, and yield each one as soon as it is ready, in any order.

        If the request is batched, those that are ready together are yielded together.
        """
        deadline = plan_deadline(context)
        graph = request.graph or GRAPH_DEFAULT
        trace_id = current_trace_id()
        detail, wanted, options = known_detail(request.detail), wanted_by(request), PathOptions.of(request)
        questions = [
            Asked(
                Question(graph, pair.start, pair.goal, request.explain, request.bypass_cache, detail, wanted, options),
                trace_id,
            )
            for pair in request.pairs
        ]
        places = asyncio.Semaphore(BATCHES_AT_ONCE_MAX)
        ready: dict[int, Answer] = {}
        changed, has_read = asyncio.Event(), asyncio.Event()

        async def answer(first: int, some: Sequence[Asked]) -> None:
            def deliver(position: int, plan: Answer) -> None:
                self._log.note(some[position].question, plan)
                ready[first + position] = plan
                changed.set()

            async with places:
                await self._batches.answer(some, deadline, deliver)
                while len(ready) > PAIRS_READY_MAX:  # the caller reads slowly
                    has_read.clear()
                    await has_read.wait()

        async def answer_all() -> None:
            async with asyncio.TaskGroup() as group:
                for first in range(0, len(questions), PAIRS_TOGETHER_MAX):
                    group.create_task(answer(first, questions[first : first + PAIRS_TOGETHER_MAX]))

        answering = asyncio.create_task(answer_all())
        answering.add_done_callback(lambda _: changed.set())
        try:
            unanswered = len(questions)
            while unanswered:
                if not ready:
                    if answering.done():
                        # A defect in one pair ends the whole call. Otherwise it would wait for that answer forever.
                        answering.result()
                        raise AssertionError(f"{unanswered} pairs got no answer")
                    changed.clear()
                    await changed.wait()
                    continue
                taken, ready = ready, {}
                unanswered -= len(taken)
                for message in answer_messages(taken, trace_id, batched=request.batched):
                    yield message
                has_read.set()
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)

    async def Converse(
        self, request_iterator: AsyncIterator[coordinator_pb2.ConverseRequest], context: Context
    ) -> AsyncIterator[coordinator_pb2.ConverseResponse]:
        """Answer the questions of a gateway, in any order, until it ends the stream."""
        async for response in self._conversations.converse(request_iterator):
            yield response

    async def ComputeMatrix(
        self, request: coordinator_pb2.ComputeMatrixRequest, context: Context
    ) -> AsyncIterator[coordinator_pb2.ComputeMatrixResponse]:
        """Compute the costs from every source to every target, and yield their rows in order."""
        request.graph = request.graph or GRAPH_DEFAULT
        async for rows in self._matrices.rows(request, plan_deadline(context), current_trace_id()):
            yield rows

    async def ComputeNeighbors(
        self, request: coordinator_pb2.ComputeNeighborsRequest, context: Context
    ) -> coordinator_pb2.ComputeNeighborsResponse:
        """Return the nodes within `depth` edges of a node, with their costs."""
        request.graph = request.graph or GRAPH_DEFAULT
        request.depth = request.depth or 1
        request.max_neighbors = request.max_neighbors or NEIGHBORS_DEFAULT
        response = await compute_neighbors(self._queries, self._changed, request, plan_deadline(context))
        response.trace_id = current_trace_id()
        return response

    async def ComputeReachable(
        self, request: coordinator_pb2.ComputeReachableRequest, context: Context
    ) -> AsyncIterator[coordinator_pb2.ComputeReachableResponse]:
        """Yield the nodes that a node reaches, or that reach it."""
        request.graph = request.graph or GRAPH_DEFAULT
        async for hits in self._reaches.reachable(request, plan_deadline(context), current_trace_id()):
            yield hits

    async def ComputeBlastRadius(
        self, request: coordinator_pb2.ComputeBlastRadiusRequest, context: Context
    ) -> AsyncIterator[coordinator_pb2.ComputeBlastRadiusResponse]:
        """Yield the nodes that a failure takes away, or makes dearer to reach."""
        request.graph = request.graph or GRAPH_DEFAULT
        async for affected in self._reaches.blast_radius(request, plan_deadline(context), current_trace_id()):
            yield affected

    async def Echo(self, request: coordinator_pb2.EchoRequest, context: Context) -> coordinator_pb2.EchoResponse:
        """Return an empty message, to measure the least latency of a call."""
        return coordinator_pb2.EchoResponse()

    async def DescribeCoordinator(
        self, request: coordinator_pb2.DescribeCoordinatorRequest, context: Context
    ) -> coordinator_pb2.DescribeCoordinatorResponse:
        """Return readiness, the states of processes and shards, and the counters."""
        return coordinator_pb2.DescribeCoordinatorResponse(
            ready=self._availability.ready,
            processes=[
                mesh_pb2.Process(name=process.name, up=not process.problem, message=process.problem)
                for process in self._availability.processes()
            ],
            shards=[
                mesh_pb2.Shard(number=shard.number, workers=shard.workers, pending=shard.pending)
                for shard in self._availability.shards()
            ],
            counters=self._counters.to_proto(),
        )

    async def _plan(self, question: Question, deadline: Deadline) -> bytes:
        try:
            plan = await self._planner.plan(question, deadline, current_trace_id())
        except PlanmeshError as error:
            self._log.note(question, error)
            raise
        except asyncio.CancelledError:
            self._log.count(grpc.StatusCode.CANCELLED)
            raise
        except Exception:
            self._log.count(grpc.StatusCode.INTERNAL)
            raise
        self._log.note(question, plan)
        return plan


def plan_deadline(context: Context) -> Deadline:
    """Return the deadline of a call, earlier by a margin in which the answer reaches the caller."""
    deadline = Deadline.from_context(context, default_s=DEADLINE_S_DEFAULT, max_s=DEADLINE_S_MAX)
    return deadline.with_share_margin(MARGIN_SHARE, MARGIN_S_MAX)
