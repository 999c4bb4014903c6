"""Several processes behind one port of a gateway: real processes, before a coordinator in this one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import grpc.aio
import psutil
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID

from planmesh.errors import ServiceUnavailable
from planmesh.settings import GatewaySettings, SettingsError, read_settings
from planmesh.telemetry import names
from planmesh.v1 import plan_pb2, plan_pb2_grpc
from services.gateway import processes
from services.gateway.kinds import Kind, bounds_of
from services.gateway.processes import Children, process_count, run_processes
from tests.deploy.processes import Process, running
from tests.mesh.polling import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux spreads connections over processes")

CONNECTIONS_MAX = 64
"""With two processes, all of 64 connections reach the same one once in 2^63 times."""
REQUEST = plan_pb2.PlanRequest(graph="default", start="a", goal="b")

T = TypeVar("T")


async def until(look: Callable[[], T], what: str) -> T:
    return await asyncio.to_thread(eventually, look, what)


class SharedPort:
    """A gateway of two processes, and connections to it."""

    def __init__(self, process: Process, stack: contextlib.AsyncExitStack) -> None:
        self.process = process
        self._stack = stack
        self.address = ""
        self.plans: list[Any] = []

    async def ready(self) -> None:
        self.address = (await asyncio.to_thread(self.process.wait_for, "starting processes"))["address"]
        await until(lambda: len(self.serving()) == 2, "two processes that are ready")

    def serving(self) -> set[int]:
        """Return the ids of the processes that have ever been ready, and run."""
        ready = {event["pid"] for event in self.process.events() if event["event"] == "ready"}
        return ready & {child.pid for child in psutil.Process(self.process.process.pid).children()}

    def connections(self, pid: int) -> int:
        """Return the number of connections that a process has with its callers."""
        port = int(self.address.rpartition(":")[2])
        found = psutil.Process(pid).net_connections("tcp")
        return sum(one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port for one in found)

    def connect(self) -> Any:
        """Return the `Plan` of a connection of its own, which the kernel gives to one of the processes."""
        channel = grpc.aio.insecure_channel(self.address, [("grpc.use_local_subchannel_pool", 1)])
        self._stack.push_async_callback(channel.close, None)
        plan = plan_pb2_grpc.PlanServiceStub(channel).Plan
        self.plans.append(plan)
        return plan

    async def reach_both(self) -> None:
        """Open connections, and request a plan on each, until both processes have one."""
        for _ in range(CONNECTIONS_MAX):
            assert (await self.connect()(REQUEST, timeout=60)).plan.start == "a"
            if all(self.connections(pid) for pid in self.serving()):
                return
        pytest.fail(f"{CONNECTIONS_MAX} connections, and a process without one")


class MetricReceiver(metrics_service_pb2_grpc.MetricsServiceServicer):
    """Keeps the names of the metrics of each process, by its `service.instance.id`."""

    def __init__(self) -> None:
        self.exported: dict[str, set[str]] = {}

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        for one in request.resource_metrics:
            (instance,) = (
                each.value.string_value for each in one.resource.attributes if each.key == SERVICE_INSTANCE_ID
            )
            found = {metric.name for scope in one.scope_metrics for metric in scope.metrics}
            self.exported.setdefault(instance, set()).update(found)
        return metrics_service_pb2.ExportMetricsServiceResponse()

    def of(self, pid: int) -> set[str]:
        """Return the names of the metrics of a process."""
        return set().union(*(found for instance, found in self.exported.items() if f"-{pid}-" in instance))


@contextlib.asynccontextmanager
async def started(mesh_processes: Any, **more: str) -> AsyncIterator[SharedPort]:
    """Run a gateway of two processes, with `more` variables, until the block is left."""
    for service in ("coordinator", "partition"):
        await mesh_processes.serve(service)
    variables = {
        "PLANMESH_GATEWAY_LISTEN": "127.0.0.1:0",
        "PLANMESH_GATEWAY_PROCESSES": "2",
        "PLANMESH_GATEWAY_READINESS_INTERVAL_S": "0.05",
        "PLANMESH_COORDINATOR_ADDRESS": mesh_processes.servers["coordinator"].addresses[0],
        "PLANMESH_PARTITION_ADDRESS": mesh_processes.servers["partition"].addresses[0],
        **more,
    }
    async with contextlib.AsyncExitStack() as stack:
        shared = SharedPort(stack.enter_context(running("services.gateway", variables)), stack)
        await shared.ready()
        yield shared


@pytest.fixture
async def shared_port(mesh_processes: Any) -> AsyncIterator[SharedPort]:
    async with started(mesh_processes) as shared:
        yield shared


def hold_plans(coordinator: Any) -> asyncio.Event:
    """Let plans wait for the event that is returned."""
    released = asyncio.Event()

    async def on_plan(_: Any, __: Any) -> None:
        await released.wait()

    coordinator.on_plan = on_plan
    return released


async def test_both_processes_answer_and_a_killed_one_comes_back(shared_port: SharedPort) -> None:
    await shared_port.reach_both()
    first, second = shared_port.serving()
    listening = [event for event in shared_port.process.events() if event["event"] == "listening"]
    assert {event["pid"] for event in listening} == {first, second}, "log lines name their process"
    assert {event["addresses"][0] for event in listening} == {shared_port.address}

    os.kill(first, signal.SIGKILL)
    await until(lambda: not psutil.pid_exists(first), "a dead process")
    for _ in range(8):
        assert (await shared_port.connect()(REQUEST, timeout=60)).plan.start == "a"
    ended = await asyncio.to_thread(shared_port.process.wait_for, "process ended unexpectedly")
    assert (ended["child"], ended["code"]) == (first, -signal.SIGKILL)
    await until(lambda: len(shared_port.serving()) == 2, "the process again")
    assert second in shared_port.serving()
    await shared_port.reach_both()
    # Those of the dead process have connected again.
    for plan in shared_port.plans:
        assert (await plan(REQUEST, timeout=60, wait_for_ready=True)).plan.start == "a"


async def test_sigterm_drains_every_process(shared_port: SharedPort, mesh_processes: Any) -> None:
    await shared_port.reach_both()
    children = shared_port.serving()
    released = hold_plans(mesh_processes.coordinator)
    answered = len(mesh_processes.coordinator.requests)
    calls = [plan(REQUEST, timeout=60) for plan in shared_port.plans]
    await until(lambda: len(mesh_processes.coordinator.requests) == answered + len(calls), "all calls in progress")
    # As a service manager does that signals every process, while the parent passes its signal on.
    for pid in (*children, shared_port.process.process.pid, *children):
        os.kill(pid, signal.SIGTERM)

    def stopping() -> bool:
        return {each["pid"] for each in shared_port.process.events() if each["event"] == "stopping"} == children

    await until(stopping, "both processes to stop")
    released.set()
    for call in calls:
        assert (await call).plan.start == "a"
    assert await asyncio.to_thread(shared_port.process.wait) == 0, shared_port.process.said
    codes = [each["code"] for each in shared_port.process.events() if each["event"] == "process ended"]
    assert codes == [0, 0]


async def test_a_second_signal_cancels_the_calls_of_every_process(shared_port: SharedPort, mesh_processes: Any) -> None:
    await shared_port.reach_both()
    hold_plans(mesh_processes.coordinator)
    answered = len(mesh_processes.coordinator.requests)
    calls = [plan(REQUEST, timeout=60) for plan in shared_port.plans]
    await until(lambda: len(mesh_processes.coordinator.requests) == answered + len(calls), "all calls in progress")
    parent = shared_port.process.process.pid
    os.kill(parent, signal.SIGINT)
    await asyncio.to_thread(shared_port.process.wait_for, "stopping")
    os.kill(parent, signal.SIGINT)
    assert await asyncio.to_thread(shared_port.process.wait) == 0, shared_port.process.said
    for call in calls:
        with pytest.raises(grpc.aio.AioRpcError):
            await call


async def test_children_end_when_their_parent_is_killed(shared_port: SharedPort) -> None:
    children = shared_port.serving()
    shared_port.process.process.kill()
    await until(lambda: not any(psutil.pid_exists(pid) for pid in children), "children that have ended")


async def test_every_process_exports_metrics_of_its_own_and_the_price_counts_once(mesh_processes: Any) -> None:
    receiver, collector = MetricReceiver(), grpc.aio.server()
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(receiver, collector)  # type: ignore[no-untyped-call]
    port = collector.add_insecure_port("127.0.0.1:0")
    await collector.start()
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
        "PLANMESH_USD_PER_HOUR": "3",
    }
    async with started(mesh_processes, **variables) as shared:
        await shared.reach_both()
        parent, children = shared.process.process.pid, shared.serving()
        await until(lambda: all(names.METRIC_IN_FLIGHT in receiver.of(pid) for pid in children), "metrics of calls")
        await until(lambda: names.METRIC_PROCESS_COST in receiver.of(parent), "the price of the gateway")
        assert all(names.METRIC_MEMORY in receiver.of(pid) for pid in (parent, *children))
        assert not any(names.METRIC_PROCESS_COST in receiver.of(pid) for pid in children)
    await collector.stop(0)


@pytest.mark.parametrize("count", ["1", "2"])
async def test_a_second_gateway_cannot_take_the_port(shared_port: SharedPort, count: str) -> None:
    variables = {"PLANMESH_GATEWAY_LISTEN": shared_port.address, "PLANMESH_GATEWAY_PROCESSES": count}
    with running("services.gateway", variables) as second:
        assert await asyncio.to_thread(second.wait) == 1
        assert second.events()[-1]["message"] == (
            f"cannot listen on {shared_port.address}: [Errno 98] Address already in use"
        )


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_in_use_ends_the_gateway_before_it_has_children(shared: bool) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        variables = {"PLANMESH_GATEWAY_LISTEN": address, "PLANMESH_GATEWAY_PROCESSES": "2"}
        with running("services.gateway", variables) as process:
            assert process.wait() == 1
            assert [event["event"] for event in process.events()] == ["ended"]
            assert process.events()[0]["message"] == f"cannot listen on {address}: [Errno 98] Address already in use"
            assert "Traceback" not in process.said


def test_a_mistake_in_the_settings_is_reported_once() -> None:
    variables = {
        "PLANMESH_GATEWAY_LISTEN": "127.0.0.1:0",
        "PLANMESH_GATEWAY_PROCESSES": "2",
        "PLANMESH_GATEWAY_TOKEN_FILE": "/nowhere/tokens",
    }
    with running("services.gateway", variables) as process:
        assert process.wait() == 2
        (line,) = process.lines
        assert line.startswith("PLANMESH_GATEWAY_TOKEN_FILE: /nowhere/tokens cannot be read")


async def test_a_child_that_always_fails_ends_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "RESTART_S_FIRST", 0.01)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    settings = GatewaySettings(gateway_listen="127.0.0.1:0", gateway_processes=2)
    with pytest.raises(ServiceUnavailable, match="ended 5 times in a row, each time within 30 s of its start, the"):
        await run_processes(settings, 2)


async def test_a_child_that_has_run_for_long_begins_a_new_series_of_failures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(processes, "RESTART_S_FIRST", 0.01)
    monkeypatch.setattr(processes, "STEADY_S", 0.0)
    program = f"echo x >> {tmp_path}/starts; test $(wc -l < {tmp_path}/starts) -lt 8 || kill $PPID; exit 1"
    await Children(("/bin/sh", "-c", program), os.environ, 1).run(drain_s=60)
    assert (tmp_path / "starts").read_text().count("x") == 8


async def test_a_child_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "ENDING_S", 0.2)
    program = "trap '' TERM USR1; kill $PPID; while :; do sleep 0.1; done"
    with pytest.raises(ServiceUnavailable, match=r"killed processes that did not end in 0\.3 s"):
        await Children(("/bin/sh", "-c", program), os.environ, 1).run(drain_s=0.1)


def test_processes_divide_the_bounds_but_not_the_rates() -> None:
    bounds = bounds_of(GatewaySettings(gateway_processes=3, gateway_in_flight_max=10, gateway_rate_per_s=7))
    assert (bounds[Kind.PLAN].in_flight_max, bounds[Kind.PLAN].rate_per_s) == (4, 7)
    assert bounds_of(GatewaySettings(gateway_processes=3, gateway_loads_in_flight_max=1))[Kind.LOAD].in_flight_max == 1


def test_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "usable_cores", lambda: 3)
    assert process_count(GatewaySettings()) == 1
    assert process_count(GatewaySettings(gateway_processes=2)) == 2
    assert process_count(GatewaySettings(gateway_processes=0)) == 3
    assert process_count(read_settings(GatewaySettings, {"PLANMESH_GATEWAY_PROCESSES": "auto"})) == 3
    with pytest.raises(SettingsError, match="PLANMESH_GATEWAY_PROCESSES: Input should be less than or equal to 64"):
        read_settings(GatewaySettings, {"PLANMESH_GATEWAY_PROCESSES": "65"})
    assert process_count(GatewaySettings(gateway_processes=0, gateway_listen="unix:/run/g")) == 1
    with pytest.raises(SettingsError, match="cannot share a unix socket"):
        process_count(GatewaySettings(gateway_processes=2, gateway_listen="unix:/run/g"))
    monkeypatch.setattr(processes, "usable_cores", lambda: 1_000)
    assert process_count(GatewaySettings(gateway_processes=0)) == 64
    monkeypatch.setattr(sys, "platform", "darwin")
    assert process_count(GatewaySettings(gateway_processes=0)) == 1
    with pytest.raises(SettingsError, match="only Linux"):
        process_count(GatewaySettings(gateway_processes=2))
