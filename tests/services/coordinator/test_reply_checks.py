"""Replies of faulty workers. Every test of a mesh shows that valid replies pass."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from planmesh.graph.model import Int32Array
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline
from services.coordinator.reply_checks import reply_problem

NODES, OVERLAY_NODES, ALL_NODES = 10, 4, 100
IN_TIME = Deadline.after(3_600)


class Sizes:
    node_count = ALL_NODES

    def nodes_of(self, partition: int) -> int:
        return NODES

    def overlay_nodes_of(self, partition: int) -> int:
        return OVERLAY_NODES

    def nodes_of_many(self, partitions: Int32Array) -> Int32Array:
        return np.full(len(partitions), NODES, np.int32)

    def overlay_nodes_of_many(self, partitions: Int32Array) -> Int32Array:
        return np.full(len(partitions), OVERLAY_NODES, np.int32)


def ints(*numbers: int) -> bytes:
    return np.array(numbers, np.int32).tobytes()


def floats(*numbers: float) -> bytes:
    return np.array(numbers, np.float64).tobytes()


ITEM = task_pb2.QueryItem(
    key=1,
    operations=[
        task_pb2.Operation(search=task_pb2.SearchOperation(partition=1, node=2)),
        task_pb2.Operation(meet=task_pb2.MeetOperation(partition=1, start=0, goal=2)),
        task_pb2.Operation(
            unpack=task_pb2.UnpackOperation(partition=1, kinds=b"\1\1", first=ints(0, 1), second=ints(1, 2))
        ),
        task_pb2.Operation(expand=task_pb2.ExpandOperation(partition=1, nodes=ints(0, 9), outgoing=True)),
        task_pb2.Operation(
            search_batch=task_pb2.SearchBatchOperation(
                partitions=ints(1, 2),
                nodes=ints(2, 3),
                backward=b"\0\1",
                meet_partitions=ints(1),
                meet_starts=ints(2),
                meet_goals=ints(3),
            )
        ),
        task_pb2.Operation(
            unpack_batch=task_pb2.UnpackBatchOperation(
                partitions=ints(0, 1), kinds=b"\1\1", first=ints(0, 1), second=ints(1, 2)
            )
        ),
        task_pb2.Operation(search_many=task_pb2.SearchManyOperation(partition=1, nodes=ints(0, 9))),
        task_pb2.Operation(meet_many=task_pb2.MeetManyOperation(partition=1, starts=ints(0, 1), goals=ints(2))),
    ],
)


def right() -> task_pb2.ItemReply:
    segments = task_pb2.UnpackResult(nodes=ints(2, 9, 2), costs=floats(0.5), lengths=ints(2, 1))
    return task_pb2.ItemReply(
        key=1,
        results=[
            task_pb2.OperationResult(
                search=task_pb2.SearchResult(overlay_nodes=ints(0, 3), distances=floats(0.5, -0.0), segments=segments)
            ),
            task_pb2.OperationResult(meet=task_pb2.MeetResult(cost=math.inf)),
            task_pb2.OperationResult(
                unpack=task_pb2.UnpackResult(nodes=ints(0, 9, 1, 1, 2), costs=floats(1, 2, 3), lengths=ints(3, 2))
            ),
            task_pb2.OperationResult(
                expand=task_pb2.ExpandResult(first_edge=ints(0, 2, 2), ends=ints(99, 0), costs=floats(1, 0))
            ),
            task_pb2.OperationResult(
                search_batch=task_pb2.SearchBatchResult(
                    counts=ints(1, 2),
                    overlay_nodes=ints(0, 3, 1),
                    distances=floats(0.5, 1, 2),
                    settled_nodes=ints(3, 4, 5),
                    # Those of the second search are too long.
                    segments=task_pb2.UnpackResult(nodes=ints(2, 9), costs=floats(0.5), lengths=ints(2, 0, 0)),
                    meet_costs=floats(math.inf),
                )
            ),
            task_pb2.OperationResult(
                unpack_batch=task_pb2.UnpackResult(nodes=ints(0, 9, 1, 1, 2), costs=floats(1, 2, 3), lengths=ints(3, 2))
            ),
            task_pb2.OperationResult(
                search_many=task_pb2.SearchManyResult(
                    counts=ints(2, 1), overlay_nodes=ints(0, 3, 3), distances=floats(0, 1, 2)
                )
            ),
            task_pb2.OperationResult(meet_many=task_pb2.MeetManyResult(costs=floats(math.inf, 0))),
        ],
    )


def problem_of(reply: task_pb2.ItemReply) -> str:
    return reply_problem(ITEM, reply, Sizes(), IN_TIME)


def test_a_valid_reply_passes() -> None:
    assert problem_of(right()) == ""


def test_an_empty_result_is_valid() -> None:
    item = task_pb2.QueryItem(operations=ITEM.operations[:1])
    empty = task_pb2.ItemReply(results=[task_pb2.OperationResult(search=task_pb2.SearchResult())])
    assert reply_problem(item, empty, Sizes(), IN_TIME) == ""


def test_an_error_is_valid_except_an_expiry_before_the_deadline() -> None:
    for kind in (task_pb2.ITEM_ERROR_KIND_DAMAGED, task_pb2.ITEM_ERROR_KIND_EXPIRED):
        reply = task_pb2.ItemReply(error=task_pb2.ItemError(kind=kind))
        assert reply_problem(ITEM, reply, Sizes(), Deadline.after(-1)) == ""
        assert ("expired" in problem_of(reply)) == (kind == task_pb2.ITEM_ERROR_KIND_EXPIRED)


Change = Callable[[list[task_pb2.OperationResult]], object]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda results: results.pop(), id="too few"),
        pytest.param(lambda results: results.append(results[0]), id="too many"),
        pytest.param(lambda results: results.reverse(), id="other order"),
        pytest.param(lambda results: results[1].Clear(), id="no kind"),
    ],
)
def test_results_of_other_operations_are_refused(change: Change) -> None:
    results = list(right().results)
    change(results)
    assert problem_of(task_pb2.ItemReply(key=1, results=results))


@pytest.mark.parametrize(
    ("result", "path", "value"),
    [
        (0, "search.overlay_nodes", ints(0, OVERLAY_NODES)),
        (0, "search.overlay_nodes", ints(0, -1)),
        (0, "search.overlay_nodes", ints(0)),
        (0, "search.overlay_nodes", ints(0, 1) + b"x"),
        (0, "search.distances", floats(0.5, math.nan)),
        (0, "search.distances", floats(0.5, -1e-300)),
        (0, "search.distances", floats(0.5, math.inf)),
        (0, "search.distances", floats(0.5)),
        (0, "search.distances", floats(0.5, 1) + b"x"),
        (0, "search.segments.lengths", ints(3)),
        (0, "search.segments.lengths", ints(3, 0)),
        (0, "search.segments.lengths", ints(4, -1)),
        (0, "search.segments.nodes", ints(2, NODES, 2)),
        (0, "search.segments.costs", floats(math.nan)),
        (1, "meet.cost", math.nan),
        (1, "meet.cost", -1.0),
        (2, "unpack.nodes", ints(0, 9, 1, 1)),
        (2, "unpack.nodes", ints(0, 9, 1, 1, -1)),
        (2, "unpack.nodes", ints(0, 9, 1, 1, 2**31 - 1)),
        (2, "unpack.nodes", ints(0, 9, 1, 1, 2) + b"xy"),
        (2, "unpack.costs", floats(1, 2)),
        (2, "unpack.costs", floats(1, 2, -math.inf)),
        (2, "unpack.lengths", ints(5)),
        (2, "unpack.lengths", ints(2**31 - 1, 6)),
        (2, "unpack.lengths", ints(3, 2) + b"x"),
        (3, "expand.first_edge", ints(0, 2)),
        (3, "expand.first_edge", b""),
        (3, "expand.first_edge", ints(1, 2, 2)),
        (3, "expand.first_edge", ints(0, 3, 2)),
        (3, "expand.first_edge", ints(0, 2, 3)),
        (3, "expand.ends", ints(0, ALL_NODES)),
        (3, "expand.ends", ints(0)),
        (3, "expand.costs", floats(1)),
        (3, "expand.costs", floats(1, -1)),
        (4, "search_batch.counts", ints(3)),
        (4, "search_batch.counts", ints(1, 1)),
        (4, "search_batch.counts", ints(4, -1)),
        (4, "search_batch.settled_nodes", ints(3, 4)),
        (4, "search_batch.overlay_nodes", ints(0, 3)),
        (4, "search_batch.overlay_nodes", ints(0, OVERLAY_NODES, 1)),
        (4, "search_batch.overlay_nodes", ints(0, 3, -1)),
        (4, "search_batch.distances", floats(0.5, 1)),
        (4, "search_batch.distances", floats(0.5, 1, math.nan)),
        (4, "search_batch.distances", floats(0.5, 1, -1)),
        (4, "search_batch.meet_costs", b""),
        (4, "search_batch.meet_costs", floats(math.nan)),
        (4, "search_batch.meet_costs", floats(-1)),
        (4, "search_batch.segments.lengths", ints(2, 0)),
        (4, "search_batch.segments.lengths", ints(2, 0, 1)),
        (4, "search_batch.segments.lengths", ints(2, 1, -1)),
        (4, "search_batch.segments.nodes", ints(2, NODES)),
        (4, "search_batch.segments.costs", floats(0.5, 0.5)),
        (5, "unpack_batch.lengths", ints(5, 0)),
        (5, "unpack_batch.lengths", ints(5)),
        (5, "unpack_batch.nodes", ints(0, 9, 1, 1, -1)),
        (5, "unpack_batch.costs", floats(1, 2)),
        (5, "unpack_batch.costs", floats(1, 2, math.inf)),
        (6, "search_many.counts", ints(3)),
        (6, "search_many.counts", ints(6, -1)),
        (6, "search_many.counts", ints(2, 2)),
        (6, "search_many.overlay_nodes", ints(0, 3, OVERLAY_NODES)),
        (6, "search_many.distances", floats(0, 1)),
        (6, "search_many.distances", floats(0, 1, math.inf)),
        (7, "meet_many.costs", floats(1)),
        (7, "meet_many.costs", floats(1, math.nan)),
        (7, "meet_many.costs", floats(1, -1)),
    ],
)
def test_inconsistent_arrays_and_impossible_numbers_are_refused(result: int, path: str, value: bytes | float) -> None:
    reply = right()
    *parents, name = path.split(".")
    message = reply.results[result]
    for parent in parents:
        message = getattr(message, parent)
    setattr(message, name, value)
    assert problem_of(reply).startswith(path.partition(".")[0])
