from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from planmesh.dispatch.checksum import open_sealed, seal
from planmesh.internal.v1 import task_pb2

REPLY = task_pb2.QueryReply(
    batch=7,
    worker="worker",
    items=[
        task_pb2.ItemReply(
            key=key,
            results=[
                task_pb2.OperationResult(search=task_pb2.SearchResult(overlay_nodes=bytes(8), distances=bytes(16)))
            ],
        )
        for key in (1, 2)
    ],
)


def content_of(reply: task_pb2.QueryReply) -> bytes:
    bare = task_pb2.QueryReply()
    bare.CopyFrom(reply)
    bare.ClearField("checksum")
    return bare.SerializeToString()


def test_a_sealed_message_can_be_opened() -> None:
    opened = open_sealed(task_pb2.QueryReply, seal(REPLY))
    assert content_of(opened) == REPLY.SerializeToString()
    assert open_sealed(task_pb2.QueryTask, seal(task_pb2.QueryTask())).items == []


def test_a_message_of_an_earlier_version_without_a_checksum_is_accepted() -> None:
    assert open_sealed(task_pb2.QueryReply, REPLY.SerializeToString()) == REPLY


@given(st.lists(st.integers(0, len(seal(REPLY)) * 8 - 1), min_size=1, max_size=8, unique=True))
def test_any_changed_bit_is_detected(bits: list[int]) -> None:
    changed = bytearray(seal(REPLY))
    for bit in bits:
        changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DecodeError):
        open_sealed(task_pb2.QueryReply, bytes(changed))


@given(st.integers(0, len(seal(REPLY)) - 1))
def test_a_truncated_message_never_has_other_content(length: int) -> None:
    """A cut between two fields leaves a valid message without a checksum, which is accepted."""
    try:
        opened = open_sealed(task_pb2.QueryReply, seal(REPLY)[:length])
    except DecodeError:
        return
    assert REPLY.SerializeToString().startswith(opened.SerializeToString())


@given(st.binary(min_size=1, max_size=40))
def test_bytes_before_or_after_a_message_are_detected(more: bytes) -> None:
    for changed in (seal(REPLY) + more, more + seal(REPLY)):
        with pytest.raises(DecodeError):
            open_sealed(task_pb2.QueryReply, changed)
