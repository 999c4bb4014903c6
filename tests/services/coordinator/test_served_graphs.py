"""The watch of what is served, against a real server, with real snapshots; openers fail as the test says."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from structlog.testing import capture_logs

from planmesh.errors import GraphUnknown, PlanmeshError, ServiceUnavailable, Unavailable, VersionGone
from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.internal.v1 import partition_pb2_grpc
from planmesh.rpc.channel import make_channel
from planmesh.rpc.deadline import Deadline
from planmesh.rpc.server import Service, make_server
from planmesh.snapshot.manifest import FORMAT, MANIFEST_NAME
from planmesh.telemetry.tracing import make_telemetry
from services.coordinator.adoption import open_snapshot
from services.coordinator.served_graphs import ServedGraphs
from services.coordinator.versioned_graph import VersionedGraph
from services.partition.catalog.watch import Adoption, WatchHub
from tests.snapshot.damage import flip_a_bit
from tests.snapshot.small_snapshot import make_snapshot

WAIT_S_MAX = 60
FAR_S = 3_600.0
"""A deadline that no test waits for: what should fail at once would hang there."""

Fault = Callable[[pb.ServedGraph], None]


class Partition(partition_pb2_grpc.PartitionServiceServicer):
    """The two rpcs that a coordinator's watch needs, over the partition service's own hub."""

    def __init__(self) -> None:
        self.hub = WatchHub()
        self.repair: Callable[[pb.ReportDamageRequest], bool] = lambda _: True
        self.reports: asyncio.Queue[pb.ReportDamageRequest] = asyncio.Queue()

    async def WatchGraphs(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.WatchGraphsRequest], context: Any
    ) -> AsyncIterator[pb.WatchGraphsResponse]:
        watcher = self.hub.join()

        async def listen() -> None:
            async for request in request_iterator:
                await self.hub.heard(watcher, request)

        listening = asyncio.create_task(listen())
        try:
            async for event in watcher.events():
                yield event
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await self.hub.leave(watcher)

    async def ReportDamage(  # noqa: N802
        self, request: pb.ReportDamageRequest, context: Any
    ) -> pb.ReportDamageResponse:
        self.reports.put_nowait(request)
        return pb.ReportDamageResponse(rebuilding=self.repair(request))


class Coordinator:
    """Served graphs whose openings go through faults, by graph."""

    def __init__(self, partition: Partition, stub: Any, folder: Path) -> None:
        self.partition = partition
        self.faults: dict[str, Fault] = {}
        self.folder = folder
        self.graphs = ServedGraphs("c", stub, self._open)

    def _open(self, served: pb.ServedGraph) -> VersionedGraph:
        fault = self.faults.get(served.graph)
        if fault is not None:
            fault(served)
        return open_snapshot(served, 1)

    def serve(self, graph: str, version: int = 1) -> Path:
        path = self.folder / graph / str(version)
        if not path.exists():
            built = self.folder / "built"
            if not built.exists():
                make_snapshot(built)
            shutil.copytree(built / "snapshot", path)
        self.partition.hub.serve(graph, version, str(path))
        return path

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S_MAX):
            while not condition():
                await asyncio.sleep(0.005)

    async def adopted(self, graph: str, version: int = 1) -> Adoption:
        adoption = await self.partition.hub.wait_for_adoption(graph, version, WAIT_S_MAX)
        assert adoption.serving == 1, adoption
        return adoption


@asynccontextmanager
async def running(folder: Path, wrap: Callable[[Any], Any] = lambda stub: stub) -> AsyncIterator[Coordinator]:
    partition = Partition()  # type: ignore[abstract]  # what is left out is UNIMPLEMENTED
    service = Service.of(partition_pb2_grpc.add_PartitionServiceServicer_to_server, partition)
    server = make_server([service], ["127.0.0.1:0"], make_telemetry("test"))
    await server.start()
    async with make_channel(server.addresses[0]) as channel:
        coordinator = Coordinator(partition, wrap(partition_pb2_grpc.PartitionServiceStub(channel)), folder)
        try:
            yield coordinator
        finally:
            await coordinator.graphs.close()
    partition.hub.close()
    await server.stop(0)


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with running(tmp_path) as started:
        yield started


def raising(*errors: Exception) -> Fault:
    """A fault of the first openings, each by its error."""
    left = list(errors)

    def fault(served: pb.ServedGraph) -> None:
        if left:
            raise left.pop(0)

    return fault


async def test_an_opener_that_breaks_concerns_its_graph_alone_and_is_tried_again(coordinator: Coordinator) -> None:
    coordinator.faults["broken"] = raising(KeyError("a defect"), MemoryError(), OSError("no such device"))
    coordinator.serve("broken")
    coordinator.serve("whole")
    with capture_logs() as logged:
        await coordinator.graphs.start()
        await coordinator.adopted("whole")
        assert coordinator.graphs.get("whole").version == 1
        await coordinator.until(lambda: any(one["event"] == "version not taken up" for one in logged))
        with pytest.raises(Unavailable, match="could not be opened"):
            coordinator.graphs.get("broken")
        assert coordinator.graphs.connected
        await coordinator.adopted("broken")
    assert coordinator.graphs.versions() == {"broken": 1, "whole": 1}
    refused = [one for one in logged if one["event"] == "version not taken up" and "exc_info" in one]
    assert [type(one["exc_info"]) for one in refused] == [KeyError, MemoryError, OSError]
    coordinator.serve("later")
    await coordinator.adopted("later")


async def test_a_graph_whose_opening_hangs_delays_no_other(coordinator: Coordinator) -> None:
    release = threading.Event()

    def hang(served: pb.ServedGraph) -> None:
        release.wait(WAIT_S_MAX)

    coordinator.faults["slow"] = hang
    coordinator.serve("slow")
    coordinator.serve("quick")
    try:
        await coordinator.graphs.start()
        await coordinator.adopted("quick")
        await coordinator.until(lambda: coordinator.graphs.informed)
        with pytest.raises(ServiceUnavailable, match="being opened"):
            coordinator.graphs.get("slow")
        assert not coordinator.graphs.ready, "a coordinator that starts is ready when its graphs are open"
        coordinator.serve("quick", 2)
        await coordinator.adopted("quick", 2)
        with pytest.raises(GraphUnknown):
            coordinator.graphs.get("unknown")
    finally:
        release.set()
    await coordinator.adopted("slow")
    assert coordinator.graphs.ready


async def test_a_load_waits_until_the_retried_adoption_succeeds(coordinator: Coordinator) -> None:
    await coordinator.graphs.start()
    await coordinator.until(lambda: coordinator.graphs.connected)
    coordinator.faults["g"] = raising(OSError("the network file system is away"))
    coordinator.serve("g")
    adoption = await coordinator.adopted("g")
    assert (adoption.failures, adoption.missing) == ([], [])


async def test_damage_is_reported_and_the_repaired_version_is_opened(coordinator: Coordinator) -> None:
    path = coordinator.serve("g")
    whole = (path / "overlay").read_bytes()
    flip_a_bit(path / "overlay")
    await coordinator.graphs.start()
    report = await asyncio.wait_for(coordinator.partition.reports.get(), WAIT_S_MAX)
    assert (report.graph, report.version, report.file) == ("g", 1, "overlay")
    (path / "overlay").write_bytes(whole)
    coordinator.serve("g")  # as after a repair
    await coordinator.adopted("g")
    assert coordinator.graphs.get("g").version == 1


async def test_a_manifest_of_another_format_is_reported_too(coordinator: Coordinator) -> None:
    path = coordinator.serve("g") / MANIFEST_NAME
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'{"format":%d' % FORMAT, b'{"format":%d' % (FORMAT + 1), 1))
    await coordinator.graphs.start()
    report = await asyncio.wait_for(coordinator.partition.reports.get(), WAIT_S_MAX)
    assert (report.graph, report.version, report.file) == ("g", 1, MANIFEST_NAME)
    path.write_bytes(whole)
    await coordinator.adopted("g")  # by its next attempt


class BreakingStub:
    """A stub of which the first watches break inside, in ways that are no failure of a call."""

    def __init__(self, stub: Any, *errors: BaseException) -> None:
        self._stub = stub
        self.errors = list(errors)
        self.states: list[tuple[bool, bool]] = []
        self.watches: list[grpc.aio.StreamStreamCall[Any, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stub, name)

    def WatchGraphs(self, *arguments: Any, **options: Any) -> Any:  # noqa: N802
        self.watches.append(self._stub.WatchGraphs(*arguments, **options))
        return self

    def cancel(self) -> None:
        self.watches[-1].cancel()

    async def __aiter__(self) -> AsyncIterator[pb.WatchGraphsResponse]:
        async for event in self.watches[-1]:
            yield event
            if self.errors and event.WhichOneof("event") == "initial_state_sent":
                raise self.errors.pop(0)


async def test_a_watch_that_breaks_is_restarted_and_is_not_ready_meanwhile(tmp_path: Path) -> None:
    broken: list[BreakingStub] = []

    def wrap(stub: Any) -> BreakingStub:
        broken.append(BreakingStub(stub, RuntimeError("a defect"), asyncio.CancelledError()))
        return broken[0]

    async with running(tmp_path, wrap) as coordinator:
        coordinator.serve("g")
        with capture_logs() as logged:
            await coordinator.graphs.start()
            await coordinator.until(lambda: len(broken[0].errors) == 1 and not coordinator.graphs.connected)
            assert not coordinator.graphs.ready
            assert "failed" in coordinator.graphs.watch_problem
            await coordinator.until(lambda: not broken[0].errors and coordinator.graphs.ready)
        assert coordinator.graphs.connected
        assert coordinator.graphs.watch_problem == ""
        failed = [one for one in logged if one["event"] == "background task failed, and is restarted"]
        assert [type(one["exc_info"]) for one in failed] == [RuntimeError, asyncio.CancelledError]
        coordinator.serve("g", 2)
        await coordinator.until(lambda: coordinator.graphs.versions() == {"g": 2})
        assert all(call.cancelled() for call in broken[0].watches[:-1]), "the partition service waits for none of them"


async def test_a_plan_whose_version_is_gone_goes_on_with_the_newer_one(coordinator: Coordinator) -> None:
    coordinator.serve("g")
    await coordinator.graphs.start()
    await coordinator.adopted("g")
    gone = coordinator.graphs.get("g")
    opening, release = threading.Event(), threading.Event()

    def slow(served: pb.ServedGraph) -> None:
        opening.set()
        release.wait(WAIT_S_MAX)

    coordinator.faults["g"] = slow
    coordinator.serve("g", 2)
    await coordinator.until(opening.is_set)
    waiting = asyncio.create_task(coordinator.graphs.wait_for_other(gone, Deadline.after(FAR_S)))
    await asyncio.sleep(0)
    assert not waiting.done()
    release.set()
    await asyncio.wait_for(waiting, WAIT_S_MAX)
    assert coordinator.graphs.get("g").version == 2


async def test_a_plan_whose_version_is_gone_hears_of_the_newer_one_from_the_partition_service(
    coordinator: Coordinator,
) -> None:
    coordinator.serve("g")
    await coordinator.graphs.start()
    await coordinator.adopted("g")
    gone = coordinator.graphs.get("g")

    def newer_is_served(request: pb.ReportDamageRequest) -> bool:
        coordinator.serve("g", 2)
        raise VersionGone("version 1 is not served any more; 2 is")

    coordinator.partition.repair = newer_is_served
    await coordinator.graphs.wait_for_other(gone, Deadline.after(FAR_S))
    assert coordinator.graphs.get("g").version == 2


async def test_a_plan_that_began_before_a_repair_goes_on_with_the_repaired_snapshot(coordinator: Coordinator) -> None:
    coordinator.serve("g")
    await coordinator.graphs.start()
    await coordinator.adopted("g")
    gone = coordinator.graphs.get("g")
    opening, release = threading.Event(), threading.Event()

    def slow(served: pb.ServedGraph) -> None:
        opening.set()
        release.wait(WAIT_S_MAX)

    coordinator.faults["g"] = slow
    coordinator.partition.repair = lambda _: False  # the repair has just ended
    coordinator.serve("g")  # as after a repair: the same version
    await coordinator.until(opening.is_set)
    waiting = asyncio.create_task(coordinator.graphs.wait_for_other(gone, Deadline.after(FAR_S)))
    await asyncio.wait({waiting}, timeout=0.2)
    release.set()
    await asyncio.wait_for(waiting, WAIT_S_MAX)
    assert coordinator.graphs.get("g") is not gone


@pytest.mark.parametrize("rebuilding", [True, False], ids=["begins", "ended"])
async def test_a_plan_hears_of_a_repair_that_begins_or_ended_while_it_asked(
    coordinator: Coordinator, rebuilding: bool
) -> None:
    coordinator.serve("g")
    await coordinator.graphs.start()
    await coordinator.adopted("g")
    gone = coordinator.graphs.get("g")

    def told_soon(request: pb.ReportDamageRequest) -> bool:
        asyncio.get_running_loop().call_later(0.1, coordinator.serve, "g")
        return rebuilding

    coordinator.partition.repair = told_soon
    await asyncio.wait_for(coordinator.graphs.wait_for_other(gone, Deadline.after(FAR_S)), WAIT_S_MAX)
    assert coordinator.graphs.get("g") is not gone


async def test_a_version_that_failed_does_not_speak_for_the_next(coordinator: Coordinator) -> None:
    """Version 2 could not be opened; a plan whose version 1 is gone waits for version 3, which can be."""
    coordinator.serve("g")
    await coordinator.graphs.start()
    await coordinator.adopted("g")
    gone = coordinator.graphs.get("g")
    opening, release = threading.Event(), threading.Event()

    def fault(served: pb.ServedGraph) -> None:
        if served.version == 2:
            raise OSError("no room left")
        opening.set()
        release.wait(WAIT_S_MAX)

    coordinator.faults["g"] = fault
    with capture_logs() as logged:
        coordinator.serve("g", 2)
        await coordinator.until(lambda: any(one["event"] == "version not taken up" for one in logged))
    coordinator.serve("g", 3)
    await coordinator.until(opening.is_set)
    waiting = asyncio.create_task(coordinator.graphs.wait_for_other(gone, Deadline.after(FAR_S)))
    await asyncio.wait({waiting}, timeout=0.2)
    release.set()
    await asyncio.wait_for(waiting, WAIT_S_MAX)
    assert coordinator.graphs.get("g").version == 3


async def cannot_open(coordinator: Coordinator) -> None:
    coordinator.faults["g"] = raising(*[OSError("no room left")] * 100)
    await tells_nothing_newer(coordinator)
    coordinator.serve("g", 2)


async def is_away(coordinator: Coordinator) -> None:
    def repair(request: pb.ReportDamageRequest) -> bool:
        raise ServiceUnavailable("away")

    coordinator.partition.repair = repair


async def tells_nothing_newer(coordinator: Coordinator) -> None:
    def repair(request: pb.ReportDamageRequest) -> bool:
        raise VersionGone("version 1 is not served any more")

    coordinator.partition.repair = repair


async def rebuilds(coordinator: Coordinator) -> None:
    coordinator.partition.repair = lambda _: True


async def has_it_whole(coordinator: Coordinator) -> None:
    coordinator.partition.repair = lambda _: False


@pytest.mark.parametrize(
    ("happens", "message"),
    [
        (cannot_open, "no room left"),
        (is_away, "does not say what is served instead"),
        (tells_nothing_newer, "not heard of a newer one"),
        (rebuilds, "being rebuilt"),
        (has_it_whole, "check that workers can read"),
    ],
)
async def test_a_plan_whose_version_is_gone_for_good_fails_at_once(
    coordinator: Coordinator, happens: Callable[[Coordinator], Any], message: str
) -> None:
    coordinator.serve("g")
    await coordinator.graphs.start()
    await coordinator.adopted("g")
    gone = coordinator.graphs.get("g")
    await happens(coordinator)
    async with asyncio.timeout(WAIT_S_MAX):
        with pytest.raises(PlanmeshError, match=message) as refused:
            await coordinator.graphs.wait_for_other(gone, Deadline.after(FAR_S))
    assert isinstance(refused.value, Unavailable)


async def test_a_plan_on_a_graph_that_is_removed_hears_that_it_is_unknown(coordinator: Coordinator) -> None:
    coordinator.serve("g")
    await coordinator.graphs.start()
    await coordinator.adopted("g")
    gone = coordinator.graphs.get("g")
    await coordinator.partition.hub.remove("g")
    await coordinator.until(lambda: coordinator.graphs.versions() == {})
    await coordinator.graphs.wait_for_other(gone, Deadline.after(FAR_S))
    with pytest.raises(GraphUnknown):
        coordinator.graphs.get("g")
