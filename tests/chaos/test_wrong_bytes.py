"""Checks that the coordinator refuses every kind of wrong reply; otherwise the scenario would prove nothing."""

from __future__ import annotations

import random

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from planmesh.chaos.wrong_bytes import SPOILS, Spoil
from planmesh.dispatch.checksum import open_sealed, seal
from planmesh.graph.model import Int32Array
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline
from services.coordinator.reply_checks import reply_problem

OPERATIONS = [
    task_pb2.Operation(search=task_pb2.SearchOperation(partition=1, node=2)),
    task_pb2.Operation(unpack=task_pb2.UnpackOperation(partition=1, kinds=b"\1", first=bytes(4), second=bytes(4))),
    task_pb2.Operation(
        search_batch=task_pb2.SearchBatchOperation(partitions=bytes(4), nodes=bytes(4), backward=bytes(1))
    ),
    task_pb2.Operation(
        unpack_batch=task_pb2.UnpackBatchOperation(partitions=bytes(4), kinds=b"\1", first=bytes(4), second=bytes(4))
    ),
]
ITEM = task_pb2.QueryItem(key=5, operations=OPERATIONS)
NUMBERS = np.array([0, 1], np.int32).tobytes()
SEGMENTS = task_pb2.UnpackResult(nodes=NUMBERS, costs=np.ones(1).tobytes(), lengths=np.array([2], np.int32).tobytes())
RESULTS = [
    task_pb2.OperationResult(search=task_pb2.SearchResult(overlay_nodes=NUMBERS, distances=np.ones(2).tobytes())),
    task_pb2.OperationResult(unpack=SEGMENTS),
    task_pb2.OperationResult(
        search_batch=task_pb2.SearchBatchResult(
            counts=np.array([2], np.int32).tobytes(),
            overlay_nodes=NUMBERS,
            distances=np.ones(2).tobytes(),
            settled_nodes=bytes(4),
            segments=task_pb2.UnpackResult(lengths=bytes(8)),
        )
    ),
    task_pb2.OperationResult(unpack_batch=SEGMENTS),
]
RIGHT = seal(task_pb2.QueryReply(batch=7, worker="w", items=[task_pb2.ItemReply(key=5, results=RESULTS)]))


class Sizes:
    node_count = 100

    def nodes_of(self, partition: int) -> int:
        return 10

    def overlay_nodes_of(self, partition: int) -> int:
        return 10

    def nodes_of_many(self, partitions: Int32Array) -> Int32Array:
        return np.full(len(partitions), 10, np.int32)

    def overlay_nodes_of_many(self, partitions: Int32Array) -> Int32Array:
        return np.full(len(partitions), 10, np.int32)


def answers(payload: bytes) -> list[task_pb2.ItemReply]:
    """Return what the coordinator would accept as the answer to ITEM."""
    try:
        reply = open_sealed(task_pb2.QueryReply, payload)
    except DecodeError:
        return []
    own = [item for item in reply.items if item.key == ITEM.key]
    return [item for item in own if not reply_problem(ITEM, item, Sizes(), Deadline.after(60))]


def test_the_right_reply_is_accepted() -> None:
    assert [list(item.results) for item in answers(RIGHT)] == [RESULTS]


@pytest.mark.parametrize(("name", "spoil"), SPOILS, ids=[name for name, _ in SPOILS])
def test_a_wrong_reply_is_refused_unless_only_its_checksum_was_cut(name: str, spoil: Spoil) -> None:
    draw = random.Random(name)
    for _ in range(200):
        assert all(list(item.results) == RESULTS for item in answers(spoil(RIGHT, draw)))
