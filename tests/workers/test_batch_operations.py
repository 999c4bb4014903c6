"""Operations for batches give what the operations for single plans give."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.internal.v1 import task_pb2
from planmesh.search.hierarchy import PATH_ROOM
from planmesh.search.local_search import SEGMENTS_NODES_MAX, LocalSearch
from tests.snapshot.small_snapshot import SmallSnapshot, make_snapshot
from workers.query_items import OpenSnapshots, QueryItems


@pytest.fixture
def snapshot(tmp_path: Path) -> SmallSnapshot:
    return make_snapshot(tmp_path / "snapshot", partitions=4)


@pytest.fixture(params=[SEGMENTS_NODES_MAX, 12])
def items(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> QueryItems:
    """Items with the bound on segments of the mesh, or one that some searches reach."""
    monkeypatch.setattr(LocalSearch.__init__, "__defaults__", (request.param, PATH_ROOM))
    return QueryItems(OpenSnapshots(16), BrokerClock())


def answer(items: QueryItems, snapshot: SmallSnapshot, operations: list[task_pb2.Operation]) -> task_pb2.ItemReply:
    return items.answer(
        task_pb2.QueryItem(
            key=1,
            graph="g",
            version=1,
            snapshot_url=str(snapshot.folder),
            snapshot_identity=snapshot.manifest.identity,
            deadline_unix_s=time.time() + 3_600,
            operations=operations,
        )
    )


def ints(*numbers: int) -> bytes:
    return np.array(numbers, np.int32).tobytes()


def test_searches_and_meetings(items: QueryItems, snapshot: SmallSnapshot) -> None:
    draw = random.Random(1)
    searches = [(draw.randrange(4), draw.randrange(30), draw.random() < 0.5) for _ in range(60)]
    meets = [(draw.randrange(4), draw.randrange(30), draw.randrange(30)) for _ in range(20)]
    meets = [(partition, start, goal) for partition, start, goal in meets if start != goal]
    batch = task_pb2.SearchBatchOperation(
        partitions=ints(*(partition for partition, _, _ in searches)),
        nodes=ints(*(node for _, node, _ in searches)),
        backward=bytes(backward for _, _, backward in searches),
        meet_partitions=ints(*(partition for partition, _, _ in meets)),
        meet_starts=ints(*(start for _, start, _ in meets)),
        meet_goals=ints(*(goal for _, _, goal in meets)),
    )
    alone = [
        task_pb2.Operation(search=task_pb2.SearchOperation(partition=partition, node=node, backward=backward))
        for partition, node, backward in searches
    ] + [
        task_pb2.Operation(meet=task_pb2.MeetOperation(partition=partition, start=start, goal=goal))
        for partition, start, goal in meets
    ]
    reply = answer(items, snapshot, [task_pb2.Operation(search_batch=batch), *alone])
    found, *singles = reply.results
    of_searches = [single.search for single in singles[: len(searches)]]
    of_meets = [single.meet for single in singles[len(searches) :]]
    batch_found = found.search_batch
    counts = [len(single.overlay_nodes) // 4 for single in of_searches]
    assert batch_found.counts == ints(*counts)
    assert batch_found.overlay_nodes == b"".join(single.overlay_nodes for single in of_searches)
    assert batch_found.distances == b"".join(single.distances for single in of_searches)
    assert batch_found.settled_nodes == ints(
        *(single.settled_nodes for single in of_searches), *(single.settled_nodes for single in of_meets)
    )
    assert batch_found.meet_costs == np.array([single.cost for single in of_meets]).tobytes()
    lengths = [
        single.segments.lengths if single.HasField("segments") else bytes(4 * count)
        for single, count in zip(of_searches, counts, strict=True)
    ]
    assert batch_found.segments.lengths == b"".join(lengths)
    assert batch_found.segments.nodes == b"".join(single.segments.nodes for single in of_searches)
    assert batch_found.segments.costs == b"".join(single.segments.costs for single in of_searches)
    assert any(single.HasField("segments") for single in of_searches)


def test_expansions(items: QueryItems, snapshot: SmallSnapshot) -> None:
    kind = task_pb2.SEGMENT_KIND_INNER
    draw = random.Random(2)
    wanted = []
    for partition in (0, 0, 2, 3, 3, 3):
        while True:
            start, goal = draw.sample(range(30), 2)
            meet = task_pb2.Operation(meet=task_pb2.MeetOperation(partition=partition, start=start, goal=goal))
            if np.isfinite(answer(items, snapshot, [meet]).results[0].meet.cost):
                break
        wanted.append((partition, start, goal))
    batch = task_pb2.UnpackBatchOperation(
        partitions=ints(*(partition for partition, _, _ in wanted)),
        kinds=bytes([kind] * len(wanted)),
        first=ints(*(start for _, start, _ in wanted)),
        second=ints(*(goal for _, _, goal in wanted)),
    )
    alone = [
        task_pb2.Operation(
            unpack=task_pb2.UnpackOperation(
                partition=partition, kinds=bytes([kind]), first=ints(start), second=ints(goal)
            )
        )
        for partition, start, goal in wanted
    ]
    found, *singles = answer(items, snapshot, [task_pb2.Operation(unpack_batch=batch), *alone]).results
    for field in ("nodes", "costs", "lengths"):
        assert getattr(found.unpack_batch, field) == b"".join(getattr(single.unpack, field) for single in singles)


@pytest.mark.parametrize(
    ("operation", "problem"),
    [
        (
            task_pb2.Operation(search_batch=task_pb2.SearchBatchOperation(partitions=ints(0, 1), nodes=ints(0))),
            "of one length",
        ),
        (
            task_pb2.Operation(
                search_batch=task_pb2.SearchBatchOperation(partitions=ints(4), nodes=ints(0), backward=b"\0")
            ),
            "a partition below 4, got 4",
        ),
        (
            task_pb2.Operation(
                search_batch=task_pb2.SearchBatchOperation(partitions=ints(0), nodes=ints(-1), backward=b"\0")
            ),
            "a local node below 30, got -1",
        ),
        (
            task_pb2.Operation(
                unpack_batch=task_pb2.UnpackBatchOperation(
                    partitions=ints(1, 0), kinds=b"\3\3", first=ints(0, 1), second=ints(1, 0)
                )
            ),
            "ascending order",
        ),
        (
            task_pb2.Operation(
                unpack_batch=task_pb2.UnpackBatchOperation(
                    partitions=ints(0), kinds=b"\3", first=ints(0), second=ints(30)
                )
            ),
            "ends among 30 nodes",
        ),
    ],
)
def test_impossible_batches_are_an_error_of_the_item(
    items: QueryItems, snapshot: SmallSnapshot, operation: task_pb2.Operation, problem: str
) -> None:
    reply = answer(items, snapshot, [operation])
    assert reply.error.kind == task_pb2.ITEM_ERROR_KIND_INTERNAL
    assert problem in reply.error.message
    assert not reply.results
