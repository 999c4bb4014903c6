"""What a call is refused with, read from the wire by gRPC's own means and none of the client's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from planmesh.v1 import graph_pb2_grpc, mesh_pb2_grpc, plan_pb2_grpc

DEADLINE_S = 30.0


@dataclass(frozen=True)
class Refusal:
    """Status code, ErrorInfo reason and metadata, message, and the field of a BadRequest."""

    code: str
    reason: str
    message: str
    metadata: dict[str, str]
    field: str


class Wire:
    """Bare stubs on one channel without any bound of its own on messages."""

    def __init__(self, address: str) -> None:
        options = [("grpc.max_send_message_length", -1), ("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]
        self._channel = grpc.insecure_channel(address, options=options)
        self.plans = plan_pb2_grpc.PlanServiceStub(self._channel)
        self.graphs = graph_pb2_grpc.GraphServiceStub(self._channel)
        self.mesh = mesh_pb2_grpc.MeshServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *error: object) -> None:
        self._channel.close()

    def serving(self) -> bool:
        """Readiness, as standard gRPC health tells it."""
        answer = self._health.Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE_S)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def refusal(call: Callable[..., Any], request: Any, timeout_s: float = DEADLINE_S) -> Refusal:
    """Make a call that must fail, a stream read to its end, and return how it did."""
    try:
        answer = call(request, timeout=timeout_s)
        answers = list(answer) if hasattr(answer, "__next__") else [answer]
    except grpc.RpcError as error:
        return _read(error)
    raise AssertionError(f"expected a refusal, got {answers}")


def _read(error: Any) -> Refusal:
    status = rpc_status.from_call(error)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details if status is not None else ():
        for message in (info, bad):
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
    field = bad.field_violations[0].field if bad.field_violations else ""
    return Refusal(error.code().name, info.reason, error.details() or "", dict(info.metadata), field)
