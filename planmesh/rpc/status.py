"""Converts planmesh's errors to rich gRPC statuses, and back.

A status carries the code, the message and `google.rpc.ErrorInfo` (reason, domain "planmesh", metadata), as AIP-193
requires. BadRequest names the field of an invalid request; RetryInfo says when to retry after an overload.
"""

from __future__ import annotations

from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from planmesh import errors
from planmesh.errors import PlanmeshError

DOMAIN: Final = "planmesh"
DETAILS_KEY: Final = "grpc-status-details-bin"

MESSAGE_BYTES_MAX: Final = 768
"""Most bytes of a status message: clients accept 8 KiB of metadata by default, and it travels twice, once escaped."""

METADATA_BYTES_MAX: Final = 2_560
"""Most bytes of ErrorInfo.metadata: room for an unknown node and three similar ones of 512 bytes each."""

CODE_AND_REASON: Final[dict[type[PlanmeshError], tuple[grpc.StatusCode, str]]] = {
    errors.PlanmeshError: (grpc.StatusCode.INTERNAL, "PLANMESH_ERROR"),
    errors.InvalidRequest: (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    errors.InvalidGraph: (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_GRAPH"),
    errors.MessageUndecodable: (grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_UNDECODABLE"),
    errors.PatternRefused: (grpc.StatusCode.INVALID_ARGUMENT, "PATTERN_REFUSED"),
    errors.InvalidChange: (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_CHANGE"),
    errors.NotFound: (grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    errors.GraphUnknown: (grpc.StatusCode.NOT_FOUND, "GRAPH_UNKNOWN"),
    errors.NodeUnknown: (grpc.StatusCode.NOT_FOUND, "NODE_UNKNOWN"),
    errors.NoPath: (grpc.StatusCode.NOT_FOUND, "NO_PATH"),
    errors.ChangeTargetUnknown: (grpc.StatusCode.NOT_FOUND, "CHANGE_TARGET_UNKNOWN"),
    errors.DeadlineExceeded: (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    errors.Unauthenticated: (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
    errors.LimitExceeded: (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED"),
    errors.Overloaded: (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
    errors.Conflict: (grpc.StatusCode.ABORTED, "CONFLICT"),
    errors.VersionConflict: (grpc.StatusCode.ABORTED, "VERSION_CONFLICT"),
    errors.KeyReused: (grpc.StatusCode.ALREADY_EXISTS, "KEY_REUSED"),
    errors.NodeDown: (grpc.StatusCode.FAILED_PRECONDITION, "NODE_DOWN"),
    errors.Unavailable: (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
    errors.BrokerUnavailable: (grpc.StatusCode.UNAVAILABLE, "BROKER_UNAVAILABLE"),
    errors.WorkerUnavailable: (grpc.StatusCode.UNAVAILABLE, "WORKER_UNAVAILABLE"),
    errors.ServiceUnavailable: (grpc.StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE"),
    errors.StoreUnavailable: (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"),
    errors.StoreError: (grpc.StatusCode.FAILED_PRECONDITION, "STORE_ERROR"),
    errors.StoreCredentials: (grpc.StatusCode.FAILED_PRECONDITION, "STORE_CREDENTIALS"),
    errors.StoreRefused: (grpc.StatusCode.FAILED_PRECONDITION, "STORE_REFUSED"),
    errors.PatternsUnsupported: (grpc.StatusCode.UNIMPLEMENTED, "PATTERNS_UNSUPPORTED"),
    errors.SnapshotError: (grpc.StatusCode.INTERNAL, "SNAPSHOT_ERROR"),
    errors.SnapshotDamaged: (grpc.StatusCode.DATA_LOSS, "SNAPSHOT_DAMAGED"),
    errors.VersionGone: (grpc.StatusCode.FAILED_PRECONDITION, "VERSION_GONE"),
    errors.InternalError: (grpc.StatusCode.INTERNAL, "INTERNAL_ERROR"),
}
"""The only mapping. A test proves that it has every class of planmesh.errors and that reasons are unique."""

_CLASS_OF_REASON: Final = {reason: error for error, (_, reason) in CODE_AND_REASON.items()}

_CLASS_OF_CODE: Final[dict[grpc.StatusCode, type[PlanmeshError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidRequest,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.Unauthenticated,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.LimitExceeded,
    grpc.StatusCode.ABORTED: errors.Conflict,
    grpc.StatusCode.ALREADY_EXISTS: errors.Conflict,
    grpc.StatusCode.UNAVAILABLE: errors.ServiceUnavailable,
    grpc.StatusCode.CANCELLED: errors.Unavailable,
}
"""For statuses without our ErrorInfo, from gRPC itself or proxies. Any other code becomes an InternalError."""

_CODE_OF_NUMBER: Final[dict[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}


def code_of(error: PlanmeshError) -> grpc.StatusCode:
    """Return the gRPC code of an error."""
    return _entry(error)[0]


def reason_of(error: PlanmeshError) -> str:
    """Return the ErrorInfo reason of an error."""
    return _entry(error)[1]


def _entry(error: PlanmeshError) -> tuple[grpc.StatusCode, str]:
    for base in type(error).__mro__:
        if base in CODE_AND_REASON:
            return CODE_AND_REASON[base]
    raise AssertionError("PlanmeshError itself is in the table")


def code_of_number(number: int) -> grpc.StatusCode:
    """Return the code of a google.rpc.Status; a number that is not a gRPC code counts as UNKNOWN."""
    return _CODE_OF_NUMBER.get(number, grpc.StatusCode.UNKNOWN)


def to_rpc_error(status: status_pb2.Status) -> grpc.aio.AioRpcError:
    """Return the error that a call of its own would have raised for a status that came in a stream."""
    return grpc.aio.AioRpcError(
        code_of_number(status.code),
        grpc.aio.Metadata(),
        grpc.aio.Metadata((DETAILS_KEY, status.SerializeToString())),
        status.message,
        None,
    )


def to_status(error: PlanmeshError, trace_id: str = "") -> status_pb2.Status:
    """Return the rich status of an error; `trace_id` is added to its metadata.

    Message and metadata are cut to MESSAGE_BYTES_MAX and METADATA_BYTES_MAX, because gRPC refuses larger trailers.
    """
    code, reason = _entry(error)
    message = _cut(error.message, MESSAGE_BYTES_MAX)
    metadata = dict(error.metadata)
    if trace_id:
        metadata.setdefault("trace_id", trace_id)
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=_bounded(metadata))
    details: list[Any] = [info]
    if isinstance(error, errors.InvalidRequest) and error.metadata.get("field"):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(error.metadata["field"], 256), description=message
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, errors.Overloaded):
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _cut(text: str, bytes_max: int) -> str:
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= bytes_max:
        return encoded.decode()
    return encoded[: bytes_max - 3].decode("utf-8", "ignore") + "…"


def _bounded(metadata: dict[str, str]) -> dict[str, str]:
    """Return metadata cut to METADATA_BYTES_MAX: short values come first, so that only the longest lose their ends."""
    left_bytes = METADATA_BYTES_MAX
    kept: dict[str, str] = {}
    for key, value in sorted(metadata.items(), key=lambda item: len(item[1])):
        room_bytes = left_bytes - len(key.encode())
        if room_bytes < 4:
            break
        kept[key] = _cut(value, room_bytes)
        left_bytes = room_bytes - len(kept[key].encode())
    return kept


def from_rpc_error(error: grpc.RpcError, peer: str = "the server") -> PlanmeshError:
    """Return the planmesh error of a failed sync or async call.

    With our ErrorInfo, it is the class that was raised, with its message and metadata. Without it, the code determines
    the class, and the message says what `peer` (a name for people) did. Raise it with the cause:
    `raise from_rpc_error(error) from error`.
    """
    code = error.code()
    text = error.details() or ""
    status = rich_status(error)
    if status is not None:
        restored = _restore(status)
        if restored is not None:
            return restored
    return _plain(code, text, peer)


def from_status(status: status_pb2.Status, peer: str = "the server") -> PlanmeshError:
    """Return the planmesh error of a google.rpc.Status, for example of one pair of a batch.

    As in from_rpc_error, it is the class that was raised, or without our ErrorInfo the class that the code determines.
    """
    restored = _restore(status)
    if restored is not None:
        return restored
    return _plain(code_of_number(status.code), status.message, peer)


def rich_status(error: grpc.RpcError) -> status_pb2.Status | None:
    """Return the google.rpc.Status in the trailers of a failed call; None when it is missing or unreadable."""
    trailers: Any = error.trailing_metadata() or ()
    for key, value in trailers:
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                status = status_pb2.Status.FromString(value)
            except DecodeError:
                return None
            # As in grpc_status: do not trust a status that contradicts the call's own code.
            return status if status.code == error.code().value[0] else None
    return None


def _restore(status: status_pb2.Status) -> PlanmeshError | None:
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    found = False
    for detail in status.details:
        if detail.Unpack(info):
            found = info.domain == DOMAIN
        else:
            detail.Unpack(retry)
    if not found:
        return None
    return restore_error(
        info.reason, status.message, dict(info.metadata), retry.retry_delay.ToTimedelta().total_seconds()
    )


def restore_error(reason: str, message: str, metadata: dict[str, str], retry_after_s: float = 0.0) -> PlanmeshError:
    """Return the error for a reason, as it was raised on the other side.

    An unknown reason (of a newer server) gives a plain PlanmeshError.
    """
    error = errors.restore(_CLASS_OF_REASON.get(reason, PlanmeshError), message)
    error.metadata = metadata
    if isinstance(error, errors.Overloaded):
        error.retry_after_s = retry_after_s
    if isinstance(error, errors.SnapshotDamaged):
        error.file = metadata.get("file", "")
    return error


def _plain(code: grpc.StatusCode, text: str, peer: str) -> PlanmeshError:
    error_class = _CLASS_OF_CODE.get(code, errors.InternalError)
    metadata = {"code": code.name}
    if code is grpc.StatusCode.UNAVAILABLE:
        return errors.ServiceUnavailable(f"{peer} cannot be reached: {text}", **metadata)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.DeadlineExceeded(f"{peer} did not answer before the deadline; allow more time", **metadata)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        bound = "message_bytes" if "larger than max" in text else ""
        hint = "; send it in smaller messages" if bound else ""
        return errors.LimitExceeded(f"{peer} refused the message: {text}{hint}", bound=bound, **metadata)
    return error_class(f"{peer} answered {code.name}: {text}", **metadata)
