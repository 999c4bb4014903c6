from __future__ import annotations

from typing import Any, cast

import grpc
import grpc.aio
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status as official

from planmesh import errors
from planmesh.errors import PlanmeshError
from planmesh.rpc.status import (
    CODE_AND_REASON,
    DETAILS_KEY,
    MESSAGE_BYTES_MAX,
    METADATA_BYTES_MAX,
    code_of,
    from_rpc_error,
    from_status,
    reason_of,
    restore_error,
    to_status,
)

NAME = "planmesh.test.EchoService"

SAMPLES: list[PlanmeshError] = [
    PlanmeshError("plain", key="value"),
    errors.InvalidRequest("depth: expected at most 5, got 9", field="depth", bound="5"),
    errors.InvalidGraph("not a number", source="edges.tsv", record="line 17", field="cost"),
    errors.MessageUndecodable("expected a PlanRequest, got other bytes"),
    errors.PatternRefused("writing is not allowed in a pattern"),
    errors.InvalidChange("expected a finite number", change=2, field="upsert_edge.cost"),
    errors.NotFound("nothing there"),
    errors.GraphUnknown("debian"),
    errors.NodeUnknown("web.fronted", ["web.frontend", "web.front"]),
    errors.NoPath("a", "ü→"),
    errors.ChangeTargetUnknown("no node 'x'", change=0, field="delete_node.id"),
    errors.DeadlineExceeded("too late"),
    errors.Unauthenticated("who are you"),
    errors.LimitExceeded("too many", bound="10000"),
    errors.Overloaded("full", bound="in_flight", retry_after_s=0.25),
    errors.Conflict("another load"),
    errors.VersionConflict("the graph has version 7, not 6", version="7"),
    errors.KeyReused("the key was used for another batch"),
    errors.NodeDown("node 'a' is down", node="a"),
    errors.Unavailable("away"),
    errors.BrokerUnavailable("redis is away"),
    errors.WorkerUnavailable("no worker", shard="3"),
    errors.ServiceUnavailable("coordinator is away", service="coordinator"),
    errors.StoreUnavailable("connection refused", store="neo4j://db.example:7687"),
    errors.StoreError("cannot be used", store="redis://cache.example"),
    errors.StoreCredentials("wrong password", store="neo4j://db.example:7687"),
    errors.StoreRefused("constraint violated", store="neo4j://db.example:7687"),
    errors.PatternsUnsupported("no patterns", store="sqlite:///graph.db"),
    errors.SnapshotError("cannot be used"),
    errors.SnapshotDamaged("p7.arrays", "checksum differs"),
    errors.VersionGone("version 3 was removed"),
    errors.InternalError("a defect"),
]


def classes() -> set[type[PlanmeshError]]:
    found = {PlanmeshError}
    waiting = [PlanmeshError]
    while waiting:
        for error_class in waiting.pop().__subclasses__():
            if error_class.__module__ == "planmesh.errors":
                found.add(error_class)
                waiting.append(error_class)
    return found


def test_the_table_has_every_class_and_no_reason_twice() -> None:
    assert set(CODE_AND_REASON) == classes()
    reasons = [reason for _, reason in CODE_AND_REASON.values()]
    assert len(set(reasons)) == len(reasons)
    assert all(code is not grpc.StatusCode.OK for code, _ in CODE_AND_REASON.values())


def test_samples_cover_every_class() -> None:
    assert {type(sample) for sample in SAMPLES} == classes()


@pytest.mark.parametrize("method", ["Unary", "UnaryStream"])
async def test_every_error_crosses_the_wire(stage: Any, method: str) -> None:
    from_index = {bytes([index]): sample for index, sample in enumerate(SAMPLES)}

    async def fail(request: bytes, context: Any) -> bytes:
        raise from_index[request]

    server = await stage.server(stage.service(fail))
    channel = stage.channel(server)
    for request, sample in from_index.items():
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stage.call(channel, method, request)
        assert caught.value.code() is code_of(sample)
        restored = from_rpc_error(caught.value)
        assert type(restored) is type(sample)
        assert restored.message == sample.message == caught.value.details()
        assert restored.metadata.pop("trace_id")
        assert restored.metadata == sample.metadata
        assert reason_of(restored) == reason_of(sample)
        # grpc_status reads the same status, so nothing in it is specific to us.
        official_status = official.from_call(cast(Any, caught.value))
        assert official_status.code == code_of(sample).value[0]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_every_error_crosses_in_a_status(sample: PlanmeshError) -> None:
    restored = from_status(status_pb2.Status.FromString(to_status(sample).SerializeToString()))
    assert type(restored) is type(sample)
    assert restored.message == sample.message
    assert restored.metadata == sample.metadata
    if isinstance(sample, errors.Overloaded):
        assert isinstance(restored, errors.Overloaded)
        assert restored.retry_after_s == sample.retry_after_s


@pytest.mark.parametrize(
    ("code", "expected"),
    [(5, errors.NotFound), (14, errors.ServiceUnavailable), (2, errors.InternalError), (99, errors.InternalError)],
)
def test_a_status_without_our_details_follows_its_code(code: int, expected: type[PlanmeshError]) -> None:
    restored = from_status(status_pb2.Status(code=code, message="whatever"), "the proxy")
    assert type(restored) is expected
    assert "the proxy" in restored.message
    assert "whatever" in restored.message


def test_fields_of_the_special_ones_are_restored() -> None:
    overloaded = errors.Overloaded("full", retry_after_s=0.25)
    status = to_status(overloaded)
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.ToTimedelta().total_seconds() == 0.25
    restored = restore_error("OVERLOADED", "full", {}, 0.25)
    assert isinstance(restored, errors.Overloaded)
    assert restored.retry_after_s == 0.25
    damaged = restore_error("SNAPSHOT_DAMAGED", "p7: bad", {"file": "p7"})
    assert isinstance(damaged, errors.SnapshotDamaged)
    assert damaged.file == "p7"
    node = restore_error("NODE_UNKNOWN", "no", {"node": "x", "near": "y\nz"})
    assert isinstance(node, errors.NodeUnknown)
    assert node.near == ["y", "z"]
    assert type(restore_error("REASON_OF_A_NEWER_SERVER", "x", {})) is PlanmeshError


def test_an_invalid_field_is_a_field_violation() -> None:
    status = to_status(errors.InvalidGraph("not a number", source="edges.tsv", record="line 17", field="cost"))
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    assert [(v.field, v.description) for v in bad.field_violations] == [
        ("cost", "edges.tsv, line 17, field cost: not a number")
    ]


def test_metadata_with_awkward_names_survives() -> None:
    error = PlanmeshError("m")
    error.metadata = {"message": "a", "self": "b"}
    status = to_status(error)
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    restored = restore_error(info.reason, status.message, dict(info.metadata))
    assert restored.metadata == {"message": "a", "self": "b"}


async def test_long_ids_reach_a_client_with_default_bounds(stage: Any) -> None:
    ids = ["ж" * 256 for _ in range(4)]

    async def fail(request: bytes, context: Any) -> bytes:
        raise errors.NodeUnknown(ids[0], ids[1:])

    server = await stage.server(stage.service(fail))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stage.bare(server).unary_unary(f"/{NAME}/Unary")(b"")
    restored = from_rpc_error(caught.value)
    assert isinstance(restored, errors.NodeUnknown)
    assert restored.metadata["node"] == ids[0]
    assert restored.near == ids[1:]
    assert len(restored.message.encode()) <= MESSAGE_BYTES_MAX


def test_metadata_is_cut_to_its_bound() -> None:
    status = to_status(PlanmeshError("x" * 100_000, long="y" * 100_000, short="z"))
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    assert info.metadata["short"] == "z"
    assert sum(len(key.encode()) + len(value.encode()) for key, value in info.metadata.items()) <= METADATA_BYTES_MAX
    assert len(status.message.encode()) <= MESSAGE_BYTES_MAX


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.ServiceUnavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (grpc.StatusCode.UNAUTHENTICATED, errors.Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, errors.Unauthenticated),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.LimitExceeded),
        (grpc.StatusCode.NOT_FOUND, errors.NotFound),
        (grpc.StatusCode.INVALID_ARGUMENT, errors.InvalidRequest),
        (grpc.StatusCode.ABORTED, errors.Conflict),
        (grpc.StatusCode.CANCELLED, errors.Unavailable),
        (grpc.StatusCode.UNIMPLEMENTED, errors.InternalError),
        (grpc.StatusCode.UNKNOWN, errors.InternalError),
    ],
)
async def test_a_status_that_is_not_ours_is_mapped_by_its_code(
    stage: Any, code: grpc.StatusCode, expected: type[PlanmeshError]
) -> None:
    async def fail(request: bytes, context: Any) -> bytes:
        await context.abort(code, "said somebody else")
        raise AssertionError

    server = await stage.server(stage.service(fail))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stage.channel(server).unary_unary(f"/{NAME}/Unary")(b"")
    assert caught.value.code() is code
    restored = from_rpc_error(caught.value, "the gateway")
    assert type(restored) is expected
    assert restored.message.startswith("the gateway")


@pytest.mark.parametrize("foreign", ["other_domain", "other_code", "not_a_status"])
async def test_details_of_other_origin_are_not_trusted(stage: Any, foreign: str) -> None:
    info = AnyMessage()
    info.Pack(error_details_pb2.ErrorInfo(reason="NO_PATH", domain="example.com"))
    code = 3 if foreign == "other_code" else grpc.StatusCode.NOT_FOUND.value[0]
    status = status_pb2.Status(code=code, message="m", details=[info])
    trailer = b"\xff\xff" if foreign == "not_a_status" else status.SerializeToString()

    async def fail(request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "m", ((DETAILS_KEY, trailer),))
        raise AssertionError

    server = await stage.server(stage.service(fail))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stage.channel(server).unary_unary(f"/{NAME}/Unary")(b"")
    assert type(from_rpc_error(caught.value)) is errors.NotFound
