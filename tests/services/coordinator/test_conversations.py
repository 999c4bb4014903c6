"""The stream of a gateway, against a real server whose batches are fakes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from planmesh.errors import NoPath
from planmesh.internal.v1 import coordinator_pb2 as pb
from planmesh.internal.v1 import coordinator_pb2_grpc
from planmesh.rpc.channel import make_channel
from planmesh.rpc.deadline import Deadline
from planmesh.rpc.server import Server, Service, make_server
from planmesh.rpc.status import from_status
from planmesh.telemetry.tracing import make_telemetry
from services.coordinator import conversations
from services.coordinator.conversations import WINDOW, Conversations
from services.coordinator.plan_batches import Asked, Deliver, PlanBatches
from services.coordinator.plan_queue import PlanQueue

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Batches:
    """Answers by the start: "none" has no path, "never" has no answer, and a number is that many bytes."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.deadlines: list[Deadline] = []
        self.cancelled = 0

    async def answer(self, asked: Sequence[Asked], deadline: Deadline, deliver: Deliver) -> None:
        self.asked += asked
        self.deadlines.append(deadline)
        try:
            for position, one in enumerate(asked):
                start = one.question.start
                if start == "never":
                    await asyncio.Event().wait()
                deliver(position, NoPath(start, "b") if start == "none" else bytes(int(start)))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


class Servicer(coordinator_pb2_grpc.CoordinatorServiceServicer):
    def __init__(self, streams: Conversations) -> None:
        self._streams = streams

    async def Converse(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.ConverseResponse]:  # noqa: N802
        async for response in self._streams.converse(request_iterator):
            yield response


class Stage:
    """A coordinator, and one stream to it."""

    def __init__(self, server: Server, batches: Batches, call: Any) -> None:
        self.server = server
        self.batches = batches
        self.call = call

    async def send(self, *questions: pb.Question, cancelled: Sequence[int] = ()) -> None:
        await self.call.write(pb.ConverseRequest(questions=questions, cancelled=cancelled))

    async def read(self) -> pb.ConverseResponse:
        async with asyncio.timeout(30):
            return cast("pb.ConverseResponse", await self.call.read())

    async def answers(self, count: int) -> dict[int, pb.Answer]:
        found: dict[int, pb.Answer] = {}
        while len(found) < count:
            for answer in (await self.read()).answers:
                assert answer.key not in found
                found[answer.key] = answer
        return found


def question(key: int, start: str, timeout_s: float = 60.0, **fields: Any) -> pb.Question:
    return pb.Question(key=key, plan=pb.ComputePlanRequest(start=start, goal="b"), timeout_s=timeout_s, **fields)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    telemetry, batches = make_telemetry("test"), Batches()
    queue = PlanQueue(cast("PlanBatches", batches))
    streams = Conversations(queue, telemetry)
    service = Service.of(coordinator_pb2_grpc.add_CoordinatorServiceServicer_to_server, cast("Any", Servicer)(streams))
    server = make_server([service.with_lasting(["Converse"])], ["127.0.0.1:0"], telemetry)
    server.follow(streams.set_ready)
    await server.start()
    await server.set_ready(True)
    async with make_channel(server.addresses[0]) as channel:
        yield Stage(server, batches, cast("Any", coordinator_pb2_grpc.CoordinatorServiceStub(channel)).Converse())
    await server.stop(0)
    await queue.close()
    telemetry.shutdown()


async def test_the_first_message_grants_the_window(stage: Stage) -> None:
    first = await stage.read()
    assert (first.window, len(first.answers)) == (WINDOW, 0)


async def test_every_question_gets_its_answer(stage: Stage) -> None:
    echo = pb.Question(key=3, echo=pb.EchoRequest())
    await stage.send(question(1, "10"), question(2, "none"), echo)
    found = await stage.answers(3)
    assert found[1].plan == bytes(10)
    assert isinstance(from_status(found[2].status), NoPath)
    assert (found[3].plan, found[3].HasField("status")) == (b"", False)


async def test_a_question_is_answered_in_the_trace_of_its_caller(stage: Stage) -> None:
    await stage.send(question(1, "none", traceparent=TRACEPARENT), question(2, "none"))
    found = await stage.answers(2)
    first, second = (from_status(found[key].status).metadata["trace_id"] for key in (1, 2))
    assert first == TRACEPARENT.split("-")[1]
    assert len(second) == len(first)
    assert second != first
    assert {one.trace_id for one in stage.batches.asked} == {first, second}


async def test_deadlines_arrive_with_the_questions(stage: Stage) -> None:
    await stage.send(question(1, "1", timeout_s=5.0))
    await stage.answers(1)
    (deadline,) = stage.batches.deadlines
    assert 0 < deadline.remaining_s() <= 5.0


async def test_a_cancelled_question_is_forgotten(stage: Stage) -> None:
    await stage.send(question(1, "never"))
    async with asyncio.timeout(30):
        while not stage.batches.asked:
            await asyncio.sleep(0.01)
        await stage.send(cancelled=[1, 99])
        while not stage.batches.cancelled:
            await asyncio.sleep(0.01)
    await stage.send(question(2, "1"))
    assert (await stage.answers(1)).keys() == {2}


async def test_a_gateway_that_leaves_takes_its_questions_with_it(stage: Stage) -> None:
    await stage.send(question(1, "never"))
    async with asyncio.timeout(30):
        while not stage.batches.asked:
            await asyncio.sleep(0.01)
        stage.call.cancel()
        while not stage.batches.cancelled:
            await asyncio.sleep(0.01)


async def test_a_gateway_that_ends_its_side_in_order_gets_its_answers(stage: Stage) -> None:
    await stage.send(*(question(key, "10") for key in range(20)))
    await stage.call.done_writing()
    assert (await stage.answers(20)).keys() == set(range(20))
    async with asyncio.timeout(30):
        assert await stage.call.read() is grpc.aio.EOF  # type: ignore[attr-defined]
        assert await stage.call.code() is grpc.StatusCode.OK


async def test_the_window_follows_the_readiness(stage: Stage) -> None:
    assert (await stage.read()).window == WINDOW
    await stage.server.set_ready(False)
    closed = await stage.read()
    assert (closed.HasField("window"), closed.window) == (True, 0)
    await stage.server.set_ready(True)
    assert (await stage.read()).window == WINDOW


async def test_a_coordinator_that_leaves_answers_what_it_has_and_ends_the_stream(stage: Stage) -> None:
    assert (await stage.read()).window == WINDOW
    await stage.send(question(1, "never"))
    async with asyncio.timeout(30):
        while not stage.batches.asked:
            await asyncio.sleep(0.01)
    await stage.server.leave()
    closed = await stage.read()
    assert (closed.HasField("window"), closed.window) == (True, 0)
    await stage.send(question(2, "7"), cancelled=[1])
    assert (await stage.answers(1))[2].plan == bytes(7)
    async with asyncio.timeout(30):
        assert await stage.call.read() is grpc.aio.EOF  # type: ignore[attr-defined]
        assert await stage.call.code() is grpc.StatusCode.OK


async def test_large_answers_travel_in_messages_of_their_own(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "ANSWERS_BYTES_MAX", 1_000)
    await stage.send(*(question(key, size) for key, size in enumerate(("400", "400", "400", "5000", "10"))))
    messages: list[list[int]] = []
    while sum(map(len, messages)) < 5:
        messages.append([len(answer.plan) for answer in (await stage.read()).answers])
    assert all(sum(sizes) <= 1_000 or len(sizes) == 1 for sizes in messages)
    assert sorted(size for sizes in messages for size in sizes) == [10, 400, 400, 400, 5_000]


async def test_more_questions_than_the_window_are_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "WINDOW", 2)
    await stage.send(*(question(key, "never") for key in (1, 2, 3)))
    found = await stage.answers(1)
    assert found.keys() == {3}
    assert from_status(found[3].status).metadata["bound"] == "WINDOW"


async def test_a_gateway_that_does_not_read_loses_its_stream(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "UNREAD_BYTES_MAX", 1_000)

    async def ask_on() -> None:
        for key in range(100_000):
            await stage.send(question(key, "100000"))

    with pytest.raises((grpc.aio.AioRpcError, asyncio.InvalidStateError)):
        await ask_on()
    async with asyncio.timeout(30):
        # grpc.aio may replace the status by INTERNAL when a write fails; see planmesh.rpc.client_stream.
        assert await stage.call.code() in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL}
