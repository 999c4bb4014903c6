"""The status by which each plan is counted, over a real server, with a planner that ends as the test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from planmesh.errors import DeadlineExceeded, NoPath, PlanmeshError
from planmesh.internal.v1 import coordinator_pb2, coordinator_pb2_grpc
from planmesh.rpc.channel import make_channel
from planmesh.rpc.deadline import Deadline
from planmesh.rpc.server import Service, make_server
from planmesh.rpc.status import rich_status
from planmesh.telemetry import names
from planmesh.telemetry.tracing import make_telemetry
from planmesh.v1 import plan_pb2
from services.coordinator.availability import Availability
from services.coordinator.changed_plans import ChangedPlans
from services.coordinator.conversations import Conversations
from services.coordinator.counters import Counters
from services.coordinator.matrices import Matrices
from services.coordinator.plan_batches import Asked, Deliver, PlanBatches
from services.coordinator.planner import Planner
from services.coordinator.questions import Question
from services.coordinator.service import CoordinatorServicer
from services.coordinator.shard_queries import ShardQueries


class EndsAsAsked:
    """A planner whose plans end in the way that their start names."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.details: list[int] = []

    async def plan(self, question: Question, deadline: Deadline, trace_id: str) -> bytes:
        self.begun.set()
        self.details.append(question.detail)
        match question.start:
            case "path":
                return b""
            case "no path":
                raise NoPath("a", "b")
            case "late":
                raise DeadlineExceeded("too late")
            case "defect":
                raise RuntimeError("a defect")
        await asyncio.Event().wait()
        raise AssertionError("the plan was not cancelled")


class OneByOne:
    """Batches whose plans that planner computes."""

    def __init__(self, planner: EndsAsAsked) -> None:
        self._planner = planner

    async def answer(self, asked: Sequence[Asked], deadline: Deadline, deliver: Deliver) -> None:
        for position, one in enumerate(asked):
            try:
                deliver(position, await self._planner.plan(one.question, deadline, one.trace_id))
            except PlanmeshError as error:
                deliver(position, error)


class Counted:
    """A coordinator, and the counts of its plans by status."""

    def __init__(
        self,
        stub: coordinator_pb2_grpc.CoordinatorServiceAsyncStub,
        planner: EndsAsAsked,
        reader: InMemoryMetricReader,
    ) -> None:
        self.stub = stub
        self.planner = planner
        self._reader = reader

    def statuses(self) -> dict[str, int]:
        data: Any = self._reader.get_metrics_data()
        return {
            point.attributes[names.STATUS]: point.value
            for resource in (data.resource_metrics if data else ())
            for metric in resource.scope_metrics[0].metrics
            if metric.name == names.METRIC_PLANS
            for point in metric.data.data_points
        }


@pytest.fixture
async def counted() -> AsyncIterator[Counted]:
    reader = InMemoryMetricReader()
    telemetry = make_telemetry("test", metric_readers=[reader])
    planner = EndsAsAsked()
    unused = cast("Any", None)
    servicer = CoordinatorServicer(
        cast("Planner", planner),
        cast("PlanBatches", OneByOne(planner)),
        cast("Conversations", unused),
        cast("Matrices", unused),
        cast("ShardQueries", unused),
        cast("Availability", unused),
        telemetry,
        Counters(),
        cast("ChangedPlans", unused),
    )
    service = Service.of(coordinator_pb2_grpc.add_CoordinatorServiceServicer_to_server, servicer)
    server = make_server([service], ["127.0.0.1:0"], telemetry)
    await server.start()
    async with make_channel(server.addresses[0]) as channel:
        yield Counted(coordinator_pb2_grpc.CoordinatorServiceStub(channel), planner, reader)
    await server.stop(0)
    telemetry.shutdown()


@pytest.mark.parametrize(
    ("ending", "status"),
    [("path", "OK"), ("no path", "NOT_FOUND"), ("late", "DEADLINE_EXCEEDED"), ("defect", "INTERNAL")],
)
async def test_a_plan_is_counted_by_how_it_ended(counted: Counted, ending: str, status: str) -> None:
    with contextlib.nullcontext() if ending == "path" else pytest.raises(grpc.aio.AioRpcError) as failed:
        await counted.stub.ComputePlan(coordinator_pb2.ComputePlanRequest(start=ending, goal="b"), timeout=30)
    assert counted.statuses() == {status: 1}
    if failed is not None:
        assert failed.value.code().name == status


async def test_a_pair_fails_as_a_plan_does(counted: Counted) -> None:
    """With the status that the plan alone gets, details included, and the other pairs are answered."""
    request = coordinator_pb2.ComputePlansRequest()
    for ending in ("late", "path", "no path"):
        request.pairs.add(start=ending, goal="b")
    answers = {answer.index: answer async for answer in counted.stub.ComputePlans(request, timeout=30)}
    assert {index: answer.WhichOneof("result") for index, answer in answers.items()} == {
        0: "status",
        1: "plan",
        2: "status",
    }
    for index in (0, 2):
        alone = coordinator_pb2.ComputePlanRequest(start=request.pairs[index].start, goal="b")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await counted.stub.ComputePlan(alone, timeout=30)
        assert without_trace(answers[index].status) == without_trace(rich_status(failed.value))
    assert counted.statuses() == {"DEADLINE_EXCEEDED": 2, "OK": 1, "NOT_FOUND": 2}


@pytest.mark.parametrize(("batched", "messages"), [(False, 130), (True, 3)])
async def test_a_batched_request_gets_fewer_messages(counted: Counted, batched: bool, messages: int) -> None:
    """A client that does not ask for batches gets a message for each pair."""
    pairs = [plan_pb2.Pair(start="path" if number % 2 else "no path", goal="b") for number in range(130)]
    request = coordinator_pb2.ComputePlansRequest(pairs=pairs, batched=batched)
    found = [message async for message in counted.stub.ComputePlans(request, timeout=30)]
    assert len(found) == messages
    answers = [answer for message in found for answer in (message.answers or [message])]
    assert {answer.index: answer.WhichOneof("result") for answer in answers} == {
        number: "plan" if number % 2 else "status" for number in range(130)
    }
    assert counted.statuses() == {"OK": 65, "NOT_FOUND": 65}


@pytest.mark.parametrize(("asked", "passed"), [(0, 3), (1, 1), (2, 2), (3, 3), (9, 3)])
async def test_a_detail_of_a_later_release_gets_the_whole_answer(counted: Counted, asked: int, passed: int) -> None:
    await counted.stub.ComputePlan(
        coordinator_pb2.ComputePlanRequest(start="path", goal="b", detail=asked),  # type: ignore[arg-type]
        timeout=30,
    )
    assert counted.planner.details == [passed]


def without_trace(status: status_pb2.Status | None) -> tuple[int, str, str, dict[str, str]]:
    """Code, message, reason and metadata; each call has a trace id of its own."""
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    metadata = dict(info.metadata)
    assert len(metadata.pop("trace_id")) == 32
    return status.code, status.message, info.reason, metadata


async def test_a_cancelled_plan_is_counted_as_cancelled(counted: Counted) -> None:
    call = counted.stub.ComputePlan(coordinator_pb2.ComputePlanRequest(start="never", goal="b"), timeout=30)
    await asyncio.wait_for(counted.planner.begun.wait(), 30)
    call.cancel()
    async with asyncio.timeout(30):
        while not counted.statuses():
            await asyncio.sleep(0.01)
    assert counted.statuses() == {"CANCELLED": 1}
