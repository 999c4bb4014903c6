"""Served graphs: adoption of versions, failing openers, broken watches, and plans whose version is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from structlog.testing import capture_logs

from planmesh.errors import GraphUnknown, PlanmeshError, ServiceUnavailable, Unavailable, VersionGone
from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.rpc.deadline import Deadline
from planmesh.snapshot.manifest import FORMAT, MANIFEST_NAME
from services.coordinator.versioned_graph import VersionedGraph
from tests.services.coordinator.watched_graphs import WAIT_S_MAX, Coordinator, HeldOpening, raising, running
from tests.snapshot.damage import flip_a_bit

FAR_S = 3_600.0
"""A deadline that no test waits for: what should fail at once would hang until then."""


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with running(tmp_path) as started:
        yield started


@pytest.fixture
async def gone(coordinator: Coordinator) -> VersionedGraph:
    """Version 1 of graph `g`, which is served. The tests then act as if a worker did not find its snapshot."""
    coordinator.serve("g")
    await coordinator.graphs.start()
    await coordinator.adopted("g")
    return coordinator.graphs.get("g")


def wait_for_other(coordinator: Coordinator, gone: VersionedGraph) -> asyncio.Task[None]:
    return asyncio.create_task(coordinator.graphs.wait_for_other(gone, Deadline.after(FAR_S)))


async def test_an_opener_that_fails_affects_only_its_graph_and_is_retried(coordinator: Coordinator) -> None:
    coordinator.faults["broken"] = raising(KeyError("a defect"), MemoryError(), OSError("no such device"))
    coordinator.serve("broken")
    coordinator.serve("whole")
    with capture_logs() as logged:
        await coordinator.graphs.start()
        await coordinator.adopted("whole")
        assert coordinator.graphs.get("whole").version == 1
        await coordinator.until(lambda: any(one["event"] == "version not adopted" for one in logged))
        with pytest.raises(Unavailable, match="could not be opened"):
            coordinator.graphs.get("broken")
        assert coordinator.graphs.connected
        await coordinator.adopted("broken")
    assert coordinator.graphs.versions() == {"broken": 1, "whole": 1}
    refused = [one for one in logged if one["event"] == "version not adopted" and "exc_info" in one]
    assert [type(one["exc_info"]) for one in refused] == [KeyError, MemoryError, OSError]
    coordinator.serve("later")
    await coordinator.adopted("later")


async def test_a_graph_whose_opening_hangs_delays_no_other_graph(coordinator: Coordinator) -> None:
    opening = coordinator.faults["slow"] = HeldOpening()
    coordinator.serve("slow")
    coordinator.serve("quick")
    try:
        await coordinator.graphs.start()
        await coordinator.adopted("quick")
        await coordinator.until(lambda: coordinator.graphs.informed)
        with pytest.raises(ServiceUnavailable, match="being opened"):
            coordinator.graphs.get("slow")
        assert not coordinator.graphs.ready, "a starting coordinator becomes ready when its graphs are open"
        coordinator.serve("quick", 2)
        await coordinator.adopted("quick", 2)
        with pytest.raises(GraphUnknown):
            coordinator.graphs.get("unknown")
    finally:
        opening.release.set()
    await coordinator.adopted("slow")
    assert coordinator.graphs.ready


async def test_a_load_waits_until_the_retried_adoption_succeeds(coordinator: Coordinator) -> None:
    await coordinator.graphs.start()
    await coordinator.until(lambda: coordinator.graphs.connected)
    coordinator.faults["g"] = raising(OSError("the network file system is down"))
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
    await coordinator.adopted("g")  # the next attempt succeeds


class BreakingStub:
    """A stub whose first watches raise errors that are not failed calls."""

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


async def test_a_watch_that_fails_is_restarted_and_the_coordinator_is_not_ready_meanwhile(tmp_path: Path) -> None:
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
        failed = [one for one in logged if one["event"] == "background task failed; it will be restarted"]
        assert [type(one["exc_info"]) for one in failed] == [RuntimeError, asyncio.CancelledError]
        coordinator.serve("g", 2)
        await coordinator.until(lambda: coordinator.graphs.versions() == {"g": 2})
        assert all(call.cancelled() for call in broken[0].watches[:-1]), "the partition service must not wait for them"


async def test_a_plan_whose_version_is_gone_continues_with_the_newer_one(
    coordinator: Coordinator, gone: VersionedGraph
) -> None:
    opening = coordinator.faults["g"] = HeldOpening()
    coordinator.serve("g", 2)
    await coordinator.until(opening.begun.is_set)
    waiting = wait_for_other(coordinator, gone)
    await asyncio.sleep(0)
    assert not waiting.done()
    opening.release.set()
    await asyncio.wait_for(waiting, WAIT_S_MAX)
    assert coordinator.graphs.get("g").version == 2


async def test_a_plan_whose_version_is_gone_waits_for_the_newer_one_that_the_partition_service_announces(
    coordinator: Coordinator,
    gone: VersionedGraph,
) -> None:

    def newer_is_served(request: pb.ReportDamageRequest) -> bool:
        coordinator.serve("g", 2)
        raise VersionGone("version 1 is no longer served; 2 is")

    coordinator.partition.repair = newer_is_served
    await coordinator.graphs.wait_for_other(gone, Deadline.after(FAR_S))
    assert coordinator.graphs.get("g").version == 2


async def test_a_plan_that_began_before_a_repair_continues_with_the_repaired_snapshot(
    coordinator: Coordinator, gone: VersionedGraph
) -> None:
    opening = coordinator.faults["g"] = HeldOpening()
    coordinator.partition.repair = lambda _: False  # the repair has just ended
    coordinator.serve("g")  # as after a repair: the same version
    await coordinator.until(opening.begun.is_set)
    waiting = wait_for_other(coordinator, gone)
    await asyncio.wait({waiting}, timeout=0.2)
    opening.release.set()
    await asyncio.wait_for(waiting, WAIT_S_MAX)
    assert coordinator.graphs.get("g") is not gone


@pytest.mark.parametrize("rebuilding", [True, False], ids=["begins", "ended"])
async def test_a_plan_waits_for_the_announcement_of_a_repair_that_begins_or_has_ended(
    coordinator: Coordinator, gone: VersionedGraph, rebuilding: bool
) -> None:

    def announce_soon(request: pb.ReportDamageRequest) -> bool:
        asyncio.get_running_loop().call_later(0.1, coordinator.serve, "g")
        return rebuilding

    coordinator.partition.repair = announce_soon
    await asyncio.wait_for(coordinator.graphs.wait_for_other(gone, Deadline.after(FAR_S)), WAIT_S_MAX)
    assert coordinator.graphs.get("g") is not gone


async def test_the_failure_of_one_version_does_not_apply_to_the_next(
    coordinator: Coordinator, gone: VersionedGraph
) -> None:
    """Version 2 cannot be opened. A plan whose version 1 is gone waits for version 3, which can."""
    opening = HeldOpening()

    def fault(served: pb.ServedGraph) -> None:
        if served.version == 2:
            raise OSError("no room left")
        opening(served)

    coordinator.faults["g"] = fault
    with capture_logs() as logged:
        coordinator.serve("g", 2)
        await coordinator.until(lambda: any(one["event"] == "version not adopted" for one in logged))
    coordinator.serve("g", 3)
    await coordinator.until(opening.begun.is_set)
    waiting = wait_for_other(coordinator, gone)
    await asyncio.wait({waiting}, timeout=0.2)
    opening.release.set()
    await asyncio.wait_for(waiting, WAIT_S_MAX)
    assert coordinator.graphs.get("g").version == 3


async def cannot_open(coordinator: Coordinator) -> None:
    coordinator.faults["g"] = raising(*[OSError("no room left")] * 100)
    await knows_nothing_newer(coordinator)
    coordinator.serve("g", 2)


async def is_down(coordinator: Coordinator) -> None:
    def repair(request: pb.ReportDamageRequest) -> bool:
        raise ServiceUnavailable("down")

    coordinator.partition.repair = repair


async def knows_nothing_newer(coordinator: Coordinator) -> None:
    def repair(request: pb.ReportDamageRequest) -> bool:
        raise VersionGone("version 1 is no longer served")

    coordinator.partition.repair = repair


async def rebuilds(coordinator: Coordinator) -> None:
    coordinator.partition.repair = lambda _: True


async def has_it_intact(coordinator: Coordinator) -> None:
    coordinator.partition.repair = lambda _: False


@pytest.mark.parametrize(
    ("happens", "message"),
    [
        (cannot_open, "no room left"),
        (is_down, "does not say which version is served instead"),
        (knows_nothing_newer, "does not know a newer one yet"),
        (rebuilds, "being rebuilt"),
        (has_it_intact, "check that workers can read"),
    ],
)
async def test_a_plan_whose_version_is_gone_for_good_fails_at_once(
    coordinator: Coordinator, gone: VersionedGraph, happens: Callable[[Coordinator], Any], message: str
) -> None:
    await happens(coordinator)
    async with asyncio.timeout(WAIT_S_MAX):
        with pytest.raises(PlanmeshError, match=message) as refused:
            await coordinator.graphs.wait_for_other(gone, Deadline.after(FAR_S))
    assert isinstance(refused.value, Unavailable)


async def test_a_plan_on_a_removed_graph_learns_that_the_graph_is_unknown(
    coordinator: Coordinator, gone: VersionedGraph
) -> None:
    await coordinator.partition.hub.remove("g")
    await coordinator.until(lambda: coordinator.graphs.versions() == {})
    await coordinator.graphs.wait_for_other(gone, Deadline.after(FAR_S))
    with pytest.raises(GraphUnknown):
        coordinator.graphs.get("g")
