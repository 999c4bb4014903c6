"""Segments that the coordinator expands from the partitions' files, on a snapshot that stores no short segments."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from planmesh.errors import InternalError, NoPath, PlanmeshError, SnapshotDamaged, VersionGone
from planmesh.rpc.deadline import Deadline
from planmesh.search.batch_local import BatchLocalSearch
from planmesh.search.index_list import IndexList
from planmesh.snapshot import short_segments
from planmesh.v1 import plan_pb2
from services.coordinator.questions import Question
from services.coordinator.versioned_graph import INLINE_S_MAX, MappedPartitions
from tests.services.coordinator.planner_bench import Bench, answered, bench
from tests.services.coordinator.test_batch_planner import NODES, check, name
from tests.snapshot.small_snapshot import SmallSnapshot, make_snapshot

LINKED = (0, 5)
PAIRS = [(start, (start * 31 + 17) % NODES) for start in range(NODES)]


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallSnapshot:
    monkeypatch.setattr(short_segments, "SEGMENT_EDGES_MAX", 0)
    return make_snapshot(tmp_path / "snapshot", nodes=NODES, edges=260, partitions=5, seed=3)


@pytest.fixture
async def mesh(redis_server: Any, snapshot: SmallSnapshot, tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(redis_server.url, snapshot, tmp_path, expands=True) as made, made.worker():
        yield made


@pytest.fixture
def expanded_in(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads of the calls that expanded segments in the coordinator."""
    threads: list[threading.Thread] = []
    indexes = MappedPartitions.indexes

    def noted(self: MappedPartitions) -> IndexList:
        threads.append(threading.current_thread())
        return indexes(self)

    monkeypatch.setattr(MappedPartitions, "indexes", noted)
    return threads


async def ask(mesh: Bench, pairs: list[tuple[int, int]]) -> list[plan_pb2.Plan | PlanmeshError]:
    questions = [Question("g", name(start), name(goal), explain=False, bypass_cache=True) for start, goal in pairs]
    answers = await answered(mesh.batches, questions, Deadline.after(60), "t")
    return [plan_pb2.Plan.FromString(answer) if isinstance(answer, bytes) else answer for answer in answers]


@pytest.mark.parametrize("size", [1, 3, 60])
async def test_plans_need_no_second_task(
    mesh: Bench, snapshot: SmallSnapshot, expanded_in: list[threading.Thread], size: int
) -> None:
    for first in range(0, NODES, size):
        pairs = PAIRS[first : first + size]
        for pair, plan in zip(pairs, await ask(mesh, pairs), strict=True):
            check(snapshot, pair, plan)
    assert mesh.counters.tasks <= NODES / size
    assert len(expanded_in) >= NODES / size / 3
    assert mesh.served.damaged == []


async def test_a_file_is_opened_in_a_thread_and_then_read_on_the_event_loop(
    mesh: Bench, expanded_in: list[threading.Thread]
) -> None:
    here = threading.current_thread()
    found = await ask(mesh, [LINKED])
    assert isinstance(found[0], plan_pb2.Plan)
    assert expanded_in
    assert here not in expanded_in
    for _ in range(200):
        mesh.served.graph.expansions.note(0.0)
    assert mesh.served.graph.expansions.are_short(1)
    expanded_in.clear()
    await ask(mesh, [LINKED])
    assert set(expanded_in) == {here}
    mesh.served.graph.expansions.note(2 * INLINE_S_MAX)
    expanded_in.clear()
    await ask(mesh, [LINKED])
    assert expanded_in
    assert here not in expanded_in


@pytest.mark.parametrize(
    ("error", "damaged"),
    [
        (SnapshotDamaged("partition-3", "checksum"), ["partition-3"]),
        (VersionGone("removed"), []),
        (OSError(24, "too many open files"), []),
    ],
    ids=["damaged", "gone", "unreadable"],
)
@pytest.mark.parametrize("size", [1, 8])
async def test_workers_expand_when_a_file_cannot_be_read(
    mesh: Bench,
    snapshot: SmallSnapshot,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    damaged: list[str],
    size: int,
) -> None:
    def fail(self: MappedPartitions, partition: int) -> Any:
        raise error

    monkeypatch.setattr(MappedPartitions, "index", fail)
    for _ in range(2):
        for pair, plan in zip(PAIRS[:size], await ask(mesh, PAIRS[:size]), strict=True):
            check(snapshot, pair, plan)
    assert mesh.served.damaged == damaged
    assert not mesh.served.graph.expands_here


@pytest.mark.parametrize("size", [1, 8])
async def test_a_segment_without_a_path_is_an_internal_error(
    mesh: Bench, snapshot: SmallSnapshot, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    unpack_many: Callable[..., Any] = BatchLocalSearch.unpack_many

    def fail(*arguments: Any) -> Any:
        raise ValueError("expected a path along segment 0, got none")

    pairs = [LINKED, *PAIRS[1:size]]
    monkeypatch.setattr(BatchLocalSearch, "unpack_many", fail)
    found = await ask(mesh, pairs)
    assert isinstance(found[0], InternalError)
    assert all(isinstance(plan, (InternalError, NoPath, plan_pb2.Plan)) for plan in found)
    monkeypatch.setattr(BatchLocalSearch, "unpack_many", unpack_many)
    for pair, plan in zip(pairs, await ask(mesh, pairs), strict=True):
        check(snapshot, pair, plan)
