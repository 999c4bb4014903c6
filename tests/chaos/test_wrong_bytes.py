"""Every way of making a wrong reply makes one that is refused; else a run of the scenario shows nothing."""

from __future__ import annotations

import random

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from planmesh.chaos.wrong_bytes import SPOILS, Spoil
from planmesh.dispatch.checksum import open_sealed, seal
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline
from services.coordinator.reply_checks import why_no_answer

OPERATIONS = [
    task_pb2.Operation(search=task_pb2.SearchOperation(partition=1, node=2)),
    task_pb2.Operation(unpack=task_pb2.UnpackOperation(partition=1, kinds=b"\1", first=bytes(4), second=bytes(4))),
]
ITEM = task_pb2.QueryItem(key=5, operations=OPERATIONS)
NUMBERS = np.array([0, 1], np.int32).tobytes()
RESULTS = [
    task_pb2.OperationResult(search=task_pb2.SearchResult(overlay_nodes=NUMBERS, distances=np.ones(2).tobytes())),
    task_pb2.OperationResult(
        unpack=task_pb2.UnpackResult(
            nodes=NUMBERS, costs=np.ones(1).tobytes(), lengths=np.array([2], np.int32).tobytes()
        )
    ),
]
RIGHT = seal(task_pb2.QueryReply(batch=7, worker="w", items=[task_pb2.ItemReply(key=5, results=RESULTS)]))


class Sizes:
    node_count = 100

    def nodes_of(self, partition: int) -> int:
        return 10

    def overlay_nodes_of(self, partition: int) -> int:
        return 10


def answers(payload: bytes) -> list[task_pb2.ItemReply]:
    """What the coordinator would take for the answer to ITEM."""
    try:
        reply = open_sealed(task_pb2.QueryReply, payload)
    except DecodeError:
        return []
    own = [item for item in reply.items if item.key == ITEM.key]
    return [item for item in own if not why_no_answer(ITEM, item, Sizes(), Deadline.after(60))]


def test_the_right_reply_is_taken() -> None:
    assert [list(item.results) for item in answers(RIGHT)] == [RESULTS]


@pytest.mark.parametrize(("name", "spoil"), SPOILS, ids=[name for name, _ in SPOILS])
def test_a_wrong_one_is_not_but_where_nothing_but_its_seal_was_cut(name: str, spoil: Spoil) -> None:
    draw = random.Random(name)
    for _ in range(200):
        assert all(list(item.results) == RESULTS for item in answers(spoil(RIGHT, draw)))
