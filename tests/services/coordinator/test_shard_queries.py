"""Queries to shards: restarts on newer versions, errors of workers, and locations."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from planmesh.errors import (
    BrokerUnavailable,
    DeadlineExceeded,
    InternalError,
    NodeUnknown,
    PlanmeshError,
    ServiceUnavailable,
    Unavailable,
)
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline
from planmesh.snapshot.reader import SnapshotReader
from services.coordinator.change_feed import Wanted
from services.coordinator.dispatch_errors import WorkerItemError
from services.coordinator.dispatcher import Answer
from services.coordinator.shard_queries import RETRIES_MAX, Place, ShardQueries
from services.coordinator.versioned_graph import VersionedGraph
from tests.snapshot.small_snapshot import make_snapshot

LONG = Deadline.after(3_600)


class Graphs:
    """Serves one graph, and records what the queries report."""

    def __init__(self, graph: VersionedGraph) -> None:
        self.graph = graph
        self.waits = 0
        self.damage: list[str] = []

    async def get_wanted(self, name: str, deadline: Deadline, wanted: Wanted) -> VersionedGraph:
        assert name == "g"
        return self.graph

    async def wait_for_other(self, gone: VersionedGraph, deadline: Deadline) -> None:
        self.waits += 1

    def report_damage(self, graph: VersionedGraph, file: str) -> None:
        self.damage.append(file)


class Shards:
    """A dispatcher whose shards fail or wait as the test says."""

    def __init__(self) -> None:
        self.failing: set[int] = set()
        self.cancelled: list[int] = []

    async def ask(self, shard: int, operations: Any, **_: Any) -> Answer:
        if shard in self.failing:
            raise BrokerUnavailable("down")
        if self.failing:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.append(shard)
                raise
        return Answer([], tasks=shard, batch_sizes=[], hedges=0)


@pytest.fixture
def graphs(tmp_path: Path) -> Graphs:
    reader = SnapshotReader.open(str(make_snapshot(tmp_path).folder))
    return Graphs(VersionedGraph("g", 1, reader.url, reader.directory(), reader.overlay(), 4, reader.identity))


@pytest.fixture
def shards() -> Shards:
    return Shards()


@pytest.fixture
def queries(graphs: Graphs, shards: Shards) -> Iterator[ShardQueries]:
    with ThreadPoolExecutor(1) as executor:
        yield ShardQueries(cast("Any", graphs), [cast("Any", shards)], executor)


def item_error(kind: task_pb2.ItemErrorKind.ValueType) -> WorkerItemError:
    return WorkerItemError(task_pb2.ItemError(kind=kind, message="why", file="partitions/00001"))


async def test_a_plan_restarts_on_a_newer_version_a_bounded_number_of_times(
    queries: ShardQueries, graphs: Graphs
) -> None:
    attempts, retries = 0, 0

    async def answer(graph: VersionedGraph) -> str:
        nonlocal attempts
        attempts += 1
        if attempts <= failures:
            raise item_error(task_pb2.ITEM_ERROR_KIND_VERSION_GONE)
        return "found"

    def note_retry() -> None:
        nonlocal retries
        retries += 1

    failures = RETRIES_MAX
    assert await queries.on_one_version("g", answer, LONG, note_retry) == "found"
    assert (attempts, retries, graphs.waits) == (RETRIES_MAX + 1, RETRIES_MAX, RETRIES_MAX)
    attempts, failures = 0, RETRIES_MAX + 1
    with pytest.raises(ServiceUnavailable, match="changed"):
        await queries.on_one_version("g", answer, LONG)
    assert attempts == RETRIES_MAX + 1


@pytest.mark.parametrize(
    ("kind", "expected", "damage"),
    [
        (task_pb2.ITEM_ERROR_KIND_DAMAGED, Unavailable, ["partitions/00001"]),
        (task_pb2.ITEM_ERROR_KIND_EXPIRED, DeadlineExceeded, []),
        (task_pb2.ITEM_ERROR_KIND_INTERNAL, InternalError, []),
        (task_pb2.ITEM_ERROR_KIND_OUT_OF_MEMORY, InternalError, []),
    ],
)
async def test_other_errors_of_workers_end_the_plan(
    queries: ShardQueries,
    graphs: Graphs,
    kind: task_pb2.ItemErrorKind.ValueType,
    expected: type[PlanmeshError],
    damage: list[str],
) -> None:
    async def answer(graph: VersionedGraph) -> None:
        raise item_error(kind)

    with pytest.raises(PlanmeshError) as raised:
        await queries.on_one_version("g", answer, LONG)
    assert type(raised.value) is expected
    assert graphs.damage == damage


async def test_a_node_is_located_and_an_unknown_one_has_suggestions(queries: ShardQueries, graphs: Graphs) -> None:
    assert await queries.locate(graphs.graph, "node-31") == Place(31, 1, 1)
    with pytest.raises(NodeUnknown) as raised:
        await queries.locate(graphs.graph, "nodes-31")
    assert "node-31" in raised.value.near


async def test_answers_come_by_shard_and_a_failure_cancels_the_others(
    queries: ShardQueries, graphs: Graphs, shards: Shards
) -> None:
    operations: dict[int, list[task_pb2.Operation]] = {2: [], 0: [], 3: []}
    answers = await queries.ask(graphs.graph, operations, LONG)
    assert {shard: answer.tasks for shard, answer in answers.items()} == {2: 2, 0: 0, 3: 3}
    shards.failing = {0}
    with pytest.raises(BrokerUnavailable):
        await queries.ask(graphs.graph, operations, LONG)
    await asyncio.sleep(0)
    assert sorted(shards.cancelled) == [2, 3]
