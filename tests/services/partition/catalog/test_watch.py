from __future__ import annotations

import asyncio

import pytest

from planmesh.internal.v1 import partition_pb2 as pb
from services.partition.catalog import watch
from services.partition.catalog.watch import Watcher, WatchHub


async def take(watcher: Watcher, count: int) -> list[str]:
    """Return the next events as texts such as "served g 2"."""
    received = []
    events = watcher.events()
    for _ in range(count):
        event = await anext(events)
        kind = str(event.WhichOneof("event"))
        what = event.served or event.removed
        if kind == "served":
            received.append(f"served {event.served.graph} {event.served.version}")
        elif kind == "removed":
            received.append(f"removed {event.removed.graph}")
        else:
            received.append(kind)
        assert what is not None
    return received


def adopts(name: str, graph: str, version: int, failure: str = "") -> pb.WatchGraphsRequest:
    return pb.WatchGraphsRequest(
        coordinator=name, adoption=pb.GraphAdoption(graph=graph, version=version, failure=failure)
    )


async def test_the_state_comes_first_and_then_the_changes() -> None:
    hub = WatchHub()
    hub.serve("g", 1, "/g/1")
    hub.serve("h", 3, "/h/3")
    watcher = hub.join()
    hub.complete(watcher)
    assert await take(watcher, 3) == ["served g 1", "served h 3", "initial_state_sent"]
    hub.serve("g", 2, "/g/2")
    await hub.remove("h")
    assert await take(watcher, 2) == ["served g 2", "removed h"]


async def test_only_the_newest_version_is_announced_and_the_end_of_the_state_stays_last() -> None:
    hub = WatchHub()
    hub.serve("g", 1, "/g/1")
    watcher = hub.join()
    hub.complete(watcher)
    hub.serve("g", 2, "/g/2")
    hub.serve("g", 3, "/g/3")
    assert await take(watcher, 2) == ["served g 3", "initial_state_sent"]


async def test_a_load_waits_for_all_watching_coordinators() -> None:
    hub = WatchHub()
    one, other = hub.join(), hub.join()
    hub.serve("g", 1, "/g/1")
    waiting = asyncio.create_task(hub.wait_for_adoption("g", 1, 30))
    await hub.receive(one, adopts("one", "g", 1))
    await asyncio.sleep(0)
    assert not waiting.done()
    await hub.receive(other, adopts("other", "g", 1))
    adoption = await waiting
    assert (adoption.serving, adoption.failures, adoption.missing) == (2, [], [])


async def test_a_load_waits_for_the_retry_of_a_failed_adoption() -> None:
    hub = WatchHub()
    one, other = hub.join(), hub.join()
    hub.serve("g", 1, "/g/1")
    await hub.receive(one, adopts("one", "g", 1))
    await hub.receive(other, adopts("other", "g", 1, "no room"))
    adoption = await hub.wait_for_adoption("g", 1, 0.01)
    assert (adoption.serving, adoption.failures, adoption.missing) == (1, ["other: no room"], [])
    waiting = asyncio.create_task(hub.wait_for_adoption("g", 1, 30))
    await asyncio.sleep(0)
    assert not waiting.done(), "a failure does not end the wait"
    await hub.receive(other, adopts("other", "g", 1))
    assert (await waiting).serving == 2


async def test_the_wait_ends_when_the_graph_is_removed() -> None:
    hub = WatchHub()
    hub.join()
    hub.serve("g", 1, "/g/1")
    waiting = asyncio.create_task(hub.wait_for_adoption("g", 1, 3_600))
    await asyncio.sleep(0)
    await hub.remove("g")
    await asyncio.wait_for(waiting, 30)


async def test_the_wait_ends_when_a_coordinator_hangs_up() -> None:
    hub = WatchHub()
    one, other = hub.join(), hub.join()
    hub.serve("g", 1, "/g/1")
    waiting = asyncio.create_task(hub.wait_for_adoption("g", 1, 30))
    await hub.receive(one, adopts("one", "g", 1))
    await hub.leave(other)
    assert (await waiting).serving == 1


async def test_a_failure_of_an_older_version_does_not_count() -> None:
    hub = WatchHub()
    watcher = hub.join()
    hub.serve("g", 1, "/g/1")
    await hub.receive(watcher, adopts("one", "g", 1, "damaged"))
    hub.serve("g", 2, "/g/2")
    adoption = await hub.wait_for_adoption("g", 2, 0.01)
    assert (adoption.serving, adoption.failures, adoption.missing) == (0, [], ["one"])


async def test_without_coordinators_the_wait_ends_by_time_or_with_the_first_one() -> None:
    hub = WatchHub()
    hub.serve("g", 1, "/g/1")
    assert (await hub.wait_for_adoption("g", 1, 0.01)).serving == 0
    waiting = asyncio.create_task(hub.wait_for_adoption("g", 1, 30))
    await asyncio.sleep(0)
    watcher = hub.join()
    await hub.receive(watcher, adopts("one", "g", 1))
    assert (await waiting).serving == 1


async def test_closing_ends_watches_and_waits() -> None:
    hub = WatchHub()
    watcher = hub.join()
    events = asyncio.create_task(take(watcher, 2))
    waiting = asyncio.create_task(hub.wait_for_adoption("g", 1, 30))
    await asyncio.sleep(0)
    hub.close()
    await hub.end_waits()
    assert (await waiting).serving == 0
    await asyncio.gather(events, return_exceptions=True)
    assert [event async for event in watcher.events()] == []


async def test_changes_are_sent_in_order_and_none_replaces_another() -> None:
    hub = WatchHub()
    hub.serve("g", 1, "/g/1")
    watcher = hub.join()
    for version in (2, 3, 4):
        hub.changed(changed(version))
        hub.serve("g", version, f"/g/{version}")
    await hub.receive(watcher, pb.WatchGraphsRequest(coordinator="c", ping=9))
    events = watcher.take_waiting()
    assert [event.WhichOneof("event") for event in events] == ["served", "changed", "changed", "changed", "pong"]
    assert [event.changed.batches[0].version for event in events[1:4]] == [2, 3, 4]
    assert (events[0].served.version, events[4].pong) == (4, 9)


async def test_a_watch_that_is_not_read_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = WatchHub()
    watcher = hub.join()
    monkeypatch.setattr(watch, "WATCHER_BYTES_MAX", 3 * changed(2).ByteSize())
    for version in (2, 3, 4, 5):
        hub.changed(changed(version))
    assert watcher.closed
    assert [event async for event in watcher.events()] == []


def changed(version: int) -> pb.ChangedGraph:
    return pb.ChangedGraph(graph="g", batches=[pb.ChangeBatch(version=version)])
