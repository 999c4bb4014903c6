"""An answer within the bound of staleness has the changes that a ping covers: they are announced, and applied too."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from planmesh.errors import ServiceUnavailable
from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.rpc.deadline import Deadline
from planmesh.v1 import graph_pb2
from services.coordinator import adoption
from services.coordinator.adoption import AdoptedGraph, open_snapshot
from services.coordinator.freshness import Freshness
from tests.snapshot.small_snapshot import make_snapshot

BOUND_S = 1_000.0


def deadline() -> Deadline:
    return Deadline.after(60)


def batch(version: int) -> pb.ChangedGraph:
    change = graph_pb2.Change(upsert_node=graph_pb2.UpsertNode(id="node-0", state="down"))
    return pb.ChangedGraph(graph="g", batches=[pb.ChangeBatch(version=version, changes=[change])])


async def test_announced_changes_count_when_they_are_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_snapshot(tmp_path)
    freshness, reports = Freshness(BOUND_S), asyncio.Queue[pb.GraphAdoption]()
    go_on = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        graph = AdoptedGraph(
            "g", lambda served: open_snapshot(served, 1), executor, reports.put_nowait, lambda *_: None
        )
        graph.want(pb.ServedGraph(graph="g", version=1, snapshot_url=str(tmp_path / "snapshot")))
        assert not (await asyncio.wait_for(reports.get(), 60)).failure
        executor.submit(go_on.wait, 60)
        try:
            graph.take(batch(2))
            graph.note_pong(time.monotonic())
            monkeypatch.setattr(adoption, "APPLIED_S_MAX", 0.01)
            with pytest.raises(ServiceUnavailable, match="serves version 1 of 2"):
                await graph.wait_until_fresh(freshness, deadline())
        finally:
            go_on.set()
        monkeypatch.undo()
        await graph.wait_until_fresh(freshness, deadline())
        assert graph.current is not None
        assert graph.current.version == 2
        await asyncio.gather(*graph.close(), return_exceptions=True)


async def test_a_graph_without_changes_is_as_fresh_as_the_last_ping() -> None:
    freshness = Freshness(BOUND_S)
    assert not freshness.is_fresh
    first, second = freshness.ping(), freshness.ping()
    sent_s = freshness.note_pong(second)
    assert sent_s == freshness.known_at_s
    assert freshness.is_fresh
    assert freshness.allows(sent_s)
    assert not freshness.allows(sent_s - 2 * BOUND_S)
    assert freshness.note_pong(first) is None, "a later ping has come back"
    assert Freshness(0).allows(float("-inf")), "0 is no bound"
