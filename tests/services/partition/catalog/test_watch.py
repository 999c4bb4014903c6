from __future__ import annotations

import asyncio

from planmesh.internal.v1 import partition_pb2 as pb
from services.partition.catalog.watch import Watcher, WatchHub


async def take(watcher: Watcher, count: int) -> list[str]:
    """The next events, such as "served g 2"."""
    told = []
    events = watcher.events()
    for _ in range(count):
        event = await anext(events)
        kind = str(event.WhichOneof("event"))
        what = event.served or event.removed
        if kind == "served":
            told.append(f"served {event.served.graph} {event.served.version}")
        elif kind == "removed":
            told.append(f"removed {event.removed.graph}")
        else:
            told.append(kind)
        assert what is not None
    return told


def adopts(name: str, graph: str, version: int, failure: str = "") -> pb.WatchGraphsRequest:
    return pb.WatchGraphsRequest(
        coordinator=name, adoption=pb.GraphAdoption(graph=graph, version=version, failure=failure)
    )


async def test_the_state_comes_first_and_then_what_changes() -> None:
    hub = WatchHub()
    hub.serve("g", 1, "/g/1")
    hub.serve("h", 3, "/h/3")
    watcher = hub.join()
    assert await take(watcher, 3) == ["served g 1", "served h 3", "initial_state_sent"]
    hub.serve("g", 2, "/g/2")
    await hub.remove("h")
    assert await take(watcher, 2) == ["served g 2", "removed h"]


async def test_only_the_newest_of_a_graph_is_told_and_the_end_of_the_state_stays_the_end() -> None:
    hub = WatchHub()
    hub.serve("g", 1, "/g/1")
    watcher = hub.join()
    hub.serve("g", 2, "/g/2")
    hub.serve("g", 3, "/g/3")
    assert await take(watcher, 2) == ["served g 3", "initial_state_sent"]


async def test_a_load_waits_for_all_that_watch() -> None:
    hub = WatchHub()
    one, other = hub.join(), hub.join()
    hub.serve("g", 1, "/g/1")
    waiting = asyncio.create_task(hub.wait_for_adoption("g", 1, 30))
    await hub.heard(one, adopts("one", "g", 1))
    await asyncio.sleep(0)
    assert not waiting.done()
    await hub.heard(other, adopts("other", "g", 1))
    adoption = await waiting
    assert (adoption.serving, adoption.failures, adoption.missing) == (2, [], [])


async def test_a_failed_adoption_is_tried_again_and_waited_for() -> None:
    hub = WatchHub()
    one, other = hub.join(), hub.join()
    hub.serve("g", 1, "/g/1")
    await hub.heard(one, adopts("one", "g", 1))
    await hub.heard(other, adopts("other", "g", 1, "no room"))
    adoption = await hub.wait_for_adoption("g", 1, 0.01)
    assert (adoption.serving, adoption.failures, adoption.missing) == (1, ["other: no room"], [])
    waiting = asyncio.create_task(hub.wait_for_adoption("g", 1, 30))
    await asyncio.sleep(0)
    assert not waiting.done(), "a failure is no answer"
    await hub.heard(other, adopts("other", "g", 1))
    assert (await waiting).serving == 2


async def test_nobody_waits_for_the_adoption_of_a_graph_that_is_removed() -> None:
    hub = WatchHub()
    hub.join()
    hub.serve("g", 1, "/g/1")
    waiting = asyncio.create_task(hub.wait_for_adoption("g", 1, 3_600))
    await asyncio.sleep(0)
    await hub.remove("g")
    await asyncio.wait_for(waiting, 30)


async def test_one_that_hangs_up_is_not_waited_for() -> None:
    hub = WatchHub()
    one, other = hub.join(), hub.join()
    hub.serve("g", 1, "/g/1")
    waiting = asyncio.create_task(hub.wait_for_adoption("g", 1, 30))
    await hub.heard(one, adopts("one", "g", 1))
    await hub.leave(other)
    assert (await waiting).serving == 1


async def test_a_failure_of_an_older_version_is_no_answer() -> None:
    hub = WatchHub()
    watcher = hub.join()
    hub.serve("g", 1, "/g/1")
    await hub.heard(watcher, adopts("one", "g", 1, "damaged"))
    hub.serve("g", 2, "/g/2")
    adoption = await hub.wait_for_adoption("g", 2, 0.01)
    assert (adoption.serving, adoption.failures, adoption.missing) == (0, [], ["one"])


async def test_with_nobody_there_the_wait_ends_by_time_or_by_the_first_that_comes() -> None:
    hub = WatchHub()
    hub.serve("g", 1, "/g/1")
    assert (await hub.wait_for_adoption("g", 1, 0.01)).serving == 0
    waiting = asyncio.create_task(hub.wait_for_adoption("g", 1, 30))
    await asyncio.sleep(0)
    watcher = hub.join()
    await hub.heard(watcher, adopts("one", "g", 1))
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
