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


def test_what_was_sealed_is_opened() -> None:
    opened = open_sealed(task_pb2.QueryReply, seal(REPLY))
    assert content_of(opened) == REPLY.SerializeToString()
    assert open_sealed(task_pb2.QueryTask, seal(task_pb2.QueryTask())).items == []


def test_a_message_of_an_earlier_version_has_no_seal_and_is_let_pass() -> None:
    assert open_sealed(task_pb2.QueryReply, REPLY.SerializeToString()) == REPLY


@given(st.lists(st.integers(0, len(seal(REPLY)) * 8 - 1), min_size=1, max_size=8, unique=True))
def test_no_bit_may_change(bits: list[int]) -> None:
    changed = bytearray(seal(REPLY))
    for bit in bits:
        changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DecodeError):
        open_sealed(task_pb2.QueryReply, bytes(changed))


@given(st.integers(0, len(seal(REPLY)) - 1))
def test_what_was_cut_short_never_says_anything_else(length: int) -> None:
    """A cut between two fields leaves a message that is whole, as one without a seal is."""
    try:
        opened = open_sealed(task_pb2.QueryReply, seal(REPLY)[:length])
    except DecodeError:
        return
    assert REPLY.SerializeToString().startswith(opened.SerializeToString())


@given(st.binary(min_size=1, max_size=40))
def test_what_was_put_behind_or_before_is_found(more: bytes) -> None:
    for changed in (seal(REPLY) + more, more + seal(REPLY)):
        with pytest.raises(DecodeError):
            open_sealed(task_pb2.QueryReply, changed)
