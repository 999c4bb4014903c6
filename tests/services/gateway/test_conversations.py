"""Plans over the stream to a coordinator, between a real client and fake coordinators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from planmesh.errors import NoPath, ServiceUnavailable
from planmesh.internal.v1 import coordinator_pb2 as pb
from planmesh.internal.v1 import coordinator_pb2_grpc
from planmesh.rpc.server import Server, Service, make_server
from planmesh.rpc.status import from_rpc_error, to_status
from planmesh.telemetry.tracing import make_telemetry
from planmesh.v1 import mesh_pb2, mesh_pb2_grpc, plan_pb2, plan_pb2_grpc
from services.gateway import coordinators
from services.gateway.coordinators import Coordinators, fixed_targets, resolve
from tests.services.gateway.conftest import Coordinator, Mesh

pytestmark = pytest.mark.mesh


class Conversing(Coordinator):
    """Answers every question of its streams, unless `hold` says not to."""

    def __init__(self, window: int | None = 100) -> None:
        super().__init__()
        self.window = window
        self.hold: Callable[[pb.Question], bool] = lambda question: False
        self.messages: list[pb.ConverseRequest] = []
        self.asked: list[pb.Question] = []
        self.out: asyncio.Queue[pb.ConverseResponse | None] = asyncio.Queue()
        """Further messages of the newest stream; None ends it."""
        self.streams = 0

    async def Converse(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.ConverseResponse]:  # noqa: N802
        self.streams += 1
        out = self.out = asyncio.Queue()
        if self.window is not None:
            out.put_nowait(pb.ConverseResponse(window=self.window))

        async def read() -> None:
            async for request in request_iterator:
                self.messages.append(request)
                self.asked += request.questions
                out.put_nowait(
                    pb.ConverseResponse(answers=[answer(one) for one in request.questions if not self.hold(one)])
                )

        reading = asyncio.create_task(read())
        try:
            while (message := await out.get()) is not None:
                yield message
        finally:
            reading.cancel()


def answer(question: pb.Question) -> pb.Answer:
    """Return the answer of a question, by its start."""
    if question.WhichOneof("request") == "echo":
        return pb.Answer(key=question.key, plan=b"")
    if question.plan.start == "none":
        return pb.Answer(key=question.key, status=to_status(NoPath("none", question.plan.goal), "t"))
    plan = plan_pb2.Plan(start=question.plan.start, goal=question.plan.goal, version=3)
    return pb.Answer(key=question.key, plan=plan.SerializeToString())


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def conversing(mesh: Mesh, first: int | None = 100) -> tuple[Conversing, Any]:
    """Start a mesh with a stream and its first window. Return the coordinator and a stub of the gateway."""
    mesh.coordinator = coordinator = Conversing(first)
    channel = await mesh.start()
    await until(lambda: coordinator.streams)
    stub: Any = plan_pb2_grpc.PlanServiceStub(channel)
    async with asyncio.timeout(30):
        while first is not None and not coordinator.asked:
            await stub.Plan(plan_pb2.PlanRequest(start="warm", goal="b"))
    coordinator.asked.clear()
    coordinator.messages.clear()
    coordinator.requests.clear()
    return coordinator, stub


async def serve_conversing(mesh: Mesh) -> tuple[Conversing, Server]:
    """Serve a coordinator on a port of its own."""
    coordinator = Conversing()
    service = Service.of(coordinator_pb2_grpc.add_CoordinatorServiceServicer_to_server, coordinator)
    server = make_server([service], ["127.0.0.1:0"], make_telemetry("coordinator"))
    await server.start()
    await server.set_ready(True)
    mesh.stack.push_async_callback(server.stop, 0)
    return coordinator, server


def request(start: str) -> plan_pb2.PlanRequest:
    return plan_pb2.PlanRequest(graph="g", start=start, goal="b", bypass_cache=True, detail=plan_pb2.DETAIL_NODES)


async def test_a_plan_travels_over_the_stream_as_it_was_asked(mesh_processes: Mesh) -> None:
    coordinator, stub = await conversing(mesh_processes)
    response = await stub.Plan(request("a"), timeout=20)
    assert (response.plan.start, response.plan.goal, response.plan.version) == ("a", "b", 3)
    (question,) = coordinator.asked
    assert coordinator.requests == [], "no call of its own"
    assert question.plan == pb.ComputePlanRequest.FromString(request("a").SerializeToString())
    assert 0 < question.timeout_s < 21
    assert question.traceparent


async def test_plans_that_avoid_much_are_calls_of_their_own(mesh_processes: Mesh) -> None:
    """Together on the stream they would be a larger message than a coordinator accepts, and end the stream."""
    coordinator, stub = await conversing(mesh_processes)
    streams = coordinator.streams
    large, small = request("a"), request("a")
    large.avoid.nodes.extend(f"{number:x>512}" for number in range(10_000))
    small.avoid.nodes.extend(f"{number:x>512}" for number in range(50))
    plans = [stub.Plan(asked, timeout=60) for asked in (large, small, large, small, large, small)]
    assert [(await plan).plan.goal for plan in plans] == ["b"] * 6
    assert [len(asked.avoid.nodes) for asked in coordinator.requests] == [10_000] * 3
    assert [len(asked.plan.avoid.nodes) for asked in coordinator.asked] == [50] * 3
    assert coordinator.streams == streams


async def test_an_error_is_the_coordinators(mesh_processes: Mesh) -> None:
    _, stub = await conversing(mesh_processes)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Plan(request("none"))
    restored = from_rpc_error(raised.value)
    assert isinstance(restored, NoPath)
    assert restored.metadata["start"] == "none"


async def test_a_ping_travels_over_the_stream(mesh_processes: Mesh) -> None:
    coordinator, _ = await conversing(mesh_processes)
    channel = grpc.aio.insecure_channel(mesh_processes.servers["gateway"].addresses[0])
    stub: Any = mesh_pb2_grpc.MeshServiceStub(channel)
    await stub.Ping(mesh_pb2.PingRequest())
    await channel.close(None)
    assert [question.WhichOneof("request") for question in coordinator.asked] == ["echo"]


async def test_questions_of_many_callers_travel_together(mesh_processes: Mesh) -> None:
    coordinator, stub = await conversing(mesh_processes, first=1_000)
    found = await asyncio.gather(*(stub.Plan(request(f"n{number}")) for number in range(300)))
    assert [one.plan.start for one in found] == [f"n{number}" for number in range(300)]
    assert len({question.key for question in coordinator.asked}) == 300
    assert len(coordinator.messages) < 300


async def test_a_caller_that_leaves_cancels_its_question(mesh_processes: Mesh) -> None:
    coordinator, stub = await conversing(mesh_processes)
    coordinator.hold = lambda question: True
    call = stub.Plan(request("a"))
    await until(lambda: coordinator.asked)
    call.cancel()
    await until(lambda: any(message.cancelled for message in coordinator.messages))
    assert [list(message.cancelled) for message in coordinator.messages if message.cancelled] == [
        [coordinator.asked[0].key]
    ]


async def test_a_question_without_an_answer_ends_at_the_deadline(mesh_processes: Mesh) -> None:
    coordinator, stub = await conversing(mesh_processes)
    coordinator.hold = lambda question: True
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Plan(request("a"), timeout=0.5)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: any(message.cancelled for message in coordinator.messages))


async def test_without_a_stream_a_plan_is_a_call_of_its_own(mesh_processes: Mesh) -> None:
    coordinator, stub = await conversing(mesh_processes, first=None)
    assert (await stub.Plan(request("a"))).plan.start == "a"
    assert [one.start for one in coordinator.requests] == ["a"]
    assert coordinator.asked == []
    coordinator.out.put_nowait(pb.ConverseResponse(window=5))
    async with asyncio.timeout(30):
        while not coordinator.asked:
            await stub.Plan(request("again"))


async def test_a_coordinator_without_a_window_is_asked_if_there_is_no_other(mesh_processes: Mesh) -> None:
    """It answers, or says best why it cannot."""
    coordinator, stub = await conversing(mesh_processes, first=0)
    assert (await stub.Plan(request("a"))).plan.start == "a"
    assert [question.plan.start for question in coordinator.asked] == ["a"]


async def test_a_full_window_makes_questions_wait_for_room(mesh_processes: Mesh) -> None:
    coordinator, stub = await conversing(mesh_processes, first=2)
    coordinator.hold = lambda question: True
    calls = [asyncio.ensure_future(stub.Plan(request(f"n{number}"), timeout=30)) for number in range(3)]
    await until(lambda: len(coordinator.asked) == 2)
    await asyncio.sleep(0.2)
    assert len(coordinator.asked) == 2
    coordinator.hold = lambda question: False
    for question in list(coordinator.asked):
        coordinator.out.put_nowait(pb.ConverseResponse(answers=[answer(question)]))
    assert {one.plan.start for one in await asyncio.gather(*calls)} == {"n0", "n1", "n2"}


async def test_waiting_for_room_is_no_busy_loop(mesh_processes: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator, stub = await conversing(mesh_processes, first=1)
    coordinator.hold = lambda question: True
    waits = 0
    wait_for_room = Coordinators._wait_for_room

    async def counted(self: Coordinators, deadline: Any) -> None:
        nonlocal waits
        waits += 1
        await wait_for_room(self, deadline)

    monkeypatch.setattr(Coordinators, "_wait_for_room", counted)
    calls = [asyncio.ensure_future(stub.Plan(request(f"n{number}"), timeout=30)) for number in range(4)]
    await until(lambda: waits >= 3)
    await asyncio.sleep(0.3)
    assert waits == 3
    for call in calls:
        call.cancel()


async def test_a_full_window_ends_at_the_deadline(mesh_processes: Mesh) -> None:
    coordinator, stub = await conversing(mesh_processes, first=1)
    coordinator.hold = lambda question: True
    first = asyncio.ensure_future(stub.Plan(request("a"), timeout=30))
    await until(lambda: coordinator.asked)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Plan(request("b"), timeout=0.3)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    first.cancel()


async def test_a_stream_that_breaks_fails_its_questions_as_a_broken_call_does(mesh_processes: Mesh) -> None:
    coordinator, stub = await conversing(mesh_processes)
    coordinator.hold = lambda question: True
    call = asyncio.ensure_future(stub.Plan(request("a"), timeout=30))
    await until(lambda: coordinator.asked)
    await mesh_processes.servers["coordinator"].stop(0)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    restored = from_rpc_error(raised.value)
    assert isinstance(restored, ServiceUnavailable)
    assert restored.metadata["service"] == "coordinator"


async def test_questions_of_a_stream_that_ends_in_order_are_asked_again(mesh_processes: Mesh) -> None:
    coordinator, stub = await conversing(mesh_processes)
    coordinator.hold = lambda question: True
    call = asyncio.ensure_future(stub.Plan(request("a"), timeout=30))
    await until(lambda: coordinator.asked)
    coordinator.hold = lambda question: False
    coordinator.out.put_nowait(None)
    assert (await call).plan.start == "a"
    await until(lambda: coordinator.streams == 2)


async def test_several_coordinators_share_the_plans_and_one_that_leaves_loses_none(mesh_processes: Mesh) -> None:
    others = [await serve_conversing(mesh_processes) for _ in range(2)]
    await mesh_processes.serve("partition")
    address = "ipv4:" + ",".join(server.addresses[0] for _, server in others)
    channel = await mesh_processes.start_gateway(coordinator_address=address)
    stub: Any = plan_pb2_grpc.PlanServiceStub(channel)
    await until(lambda: all(coordinator.streams for coordinator, _ in others))
    async with asyncio.timeout(30):
        while not all(coordinator.asked for coordinator, _ in others):
            await asyncio.gather(*(stub.Plan(request(f"n{number}")) for number in range(50)))
    (leaving, _), (staying, _) = others
    leaving.out.put_nowait(pb.ConverseResponse(window=0))
    leaving.window = 0
    asked_before = len(staying.asked)
    for number in range(50):
        assert (await stub.Plan(request(f"n{number}"))).plan.start == f"n{number}"
    leaving.out.put_nowait(None)
    for number in range(50):
        assert (await stub.Plan(request(f"n{number}"))).plan.start == f"n{number}"
    assert len(staying.asked) - asked_before >= 99, "the first may still have gone to the other"


async def test_a_coordinator_whose_address_is_gone_still_answers_what_it_was_asked(
    mesh_processes: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [await serve_conversing(mesh_processes) for _ in range(2)]
    targets = [f"ipv4:{server.addresses[0]}" for _, server in others]
    found = list(targets)

    async def resolved(address: str) -> list[str]:
        return list(found)

    monkeypatch.setattr(coordinators, "resolve", resolved)
    monkeypatch.setattr(coordinators, "RESOLVE_S", 0.05)
    monkeypatch.setattr(coordinators, "RESOLVE_WITHOUT_S", 0.05)
    await mesh_processes.serve("partition")
    channel = await mesh_processes.start_gateway(coordinator_address="dns:///coordinator:7")
    stub: Any = plan_pb2_grpc.PlanServiceStub(channel)
    (going, _), (staying, _) = others
    await until(lambda: going.streams and staying.streams)
    for coordinator in (going, staying):
        coordinator.hold = lambda question: True
    calls = [asyncio.ensure_future(stub.Plan(request(f"n{number}"), timeout=30)) for number in range(10)]
    await until(lambda: len(going.asked) + len(staying.asked) == 10)
    assert going.asked
    found.remove(targets[0])
    staying.hold = lambda question: False
    await asyncio.sleep(0.3)
    assert (await stub.Plan(request("later"))).plan.start == "later"
    assert "later" in [question.plan.start for question in staying.asked]
    for coordinator in (going, staying):
        coordinator.out.put_nowait(pb.ConverseResponse(answers=[answer(one) for one in coordinator.asked]))
    assert {one.plan.start for one in await asyncio.gather(*calls)} == {f"n{number}" for number in range(10)}


def test_addresses_of_single_processes() -> None:
    assert fixed_targets("unix:/run/c") == ["unix:/run/c"]
    assert fixed_targets("127.0.0.1:7") == ["127.0.0.1:7"]
    assert fixed_targets("ipv4:127.0.0.1:7,127.0.0.2:8") == ["ipv4:127.0.0.1:7", "ipv4:127.0.0.2:8"]
    assert fixed_targets("ipv6:[::1]:7") == ["ipv6:[::1]:7"]
    assert fixed_targets("dns:///coordinator:7") == []


async def test_a_name_is_resolved_to_the_addresses_behind_it() -> None:
    assert "ipv4:127.0.0.1:7" in await resolve("dns:///localhost:7")
    assert await resolve("dns:///[::1]:7") == ["ipv6:[::1]:7"]
    with pytest.raises(OSError, match=r"(?i)name|address"):
        await resolve("dns:///no-such-host.invalid:7")
