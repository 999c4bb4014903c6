"""Changes to messages of `planmesh.v1`, and their answers back. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import uuid4

from planmesh.client.changes import (
    Change,
    DeleteEdge,
    DeleteNode,
    UpdateAnswer,
    UpdateBatch,
    UpdateResult,
    UpsertEdge,
    UpsertNode,
)
from planmesh.errors import InternalError, InvalidChange, InvalidRequest
from planmesh.rpc import status as rpc_status
from planmesh.v1 import graph_pb2

CHANGES_PER_BATCH_MAX: Final = 10_000
"""The gateway's bound. More changes are refused here, because a batch is applied as a whole or not at all."""


def update_request(
    graph: str, changes: Iterable[Change], *, if_version: int | None, key: str, ignore_missing: bool
) -> graph_pb2.UpdateGraphRequest:
    """The request of an update. Without a key it gets a random one, so that gRPC's retries apply the batch once.

    Raises InvalidChange for a change that no message can hold, InvalidRequest for too many changes.
    """
    return _request(graph, list(changes), if_version, key or uuid4().hex, ignore_missing)


def update_result(message: graph_pb2.UpdateGraphResponse) -> UpdateResult:
    """The result of an applied batch."""
    return UpdateResult(message.graph, message.version, message.applied, message.repeated_attempt)


class UpdateStream:
    """The messages of a stream of updates to `graph`, in both directions."""

    def __init__(self, graph: str) -> None:
        self._graph = graph
        self._sent = 0
        self._answered = 0

    def message(self, batch: UpdateBatch | Sequence[Change]) -> graph_pb2.UpdateGraphStreamRequest:
        """The message of the next batch. Raises as `update_request` does."""
        if not isinstance(batch, UpdateBatch):
            batch = UpdateBatch(batch)
        graph = batch.graph or self._graph
        update = _request(graph, batch.changes, batch.if_version, batch.key, batch.ignore_missing)
        self._sent += 1
        return graph_pb2.UpdateGraphStreamRequest(update=update)

    def answer(self, message: graph_pb2.UpdateGraphStreamResponse) -> UpdateAnswer:
        """The next answer. Raises InternalError for a message with neither response nor status."""
        index = self._answered
        self._answered += 1
        match message.WhichOneof("result"):
            case "response":
                return UpdateAnswer(index, update_result(message.response), None)
            case "status":
                return UpdateAnswer(index, None, rpc_status.from_status(message.status))
        raise InternalError(f"batch {index}: expected a response or a status, got neither")

    def check_end(self) -> None:
        """Raise InternalError unless every batch has an answer."""
        if self._answered != self._sent:
            raise InternalError(f"expected answers to {self._sent} batches, got {self._answered}")


def _request(
    graph: str, changes: Sequence[Change], if_version: int | None, key: str, ignore_missing: bool
) -> graph_pb2.UpdateGraphRequest:
    if not 1 <= len(changes) <= CHANGES_PER_BATCH_MAX:
        raise InvalidRequest(
            f"changes: expected 1 to {CHANGES_PER_BATCH_MAX} changes, got {len(changes)}; send more in several batches",
            field="changes",
        )
    if if_version is not None and not 0 <= if_version < 2**64:
        raise InvalidRequest(f"if_version: expected an unsigned number, got {if_version}", field="if_version")
    return graph_pb2.UpdateGraphRequest(
        graph=graph,
        changes=[_message(position, change) for position, change in enumerate(changes)],
        if_version=if_version,
        idempotency_key=key,
        ignore_missing=ignore_missing,
    )


def _message(position: int, change: Any) -> graph_pb2.Change:
    try:
        match change:
            case UpsertEdge():
                return graph_pb2.Change(upsert_edge=_upsert_edge(position, change))
            case UpsertNode(id, domain, region, state, attributes):
                node = graph_pb2.UpsertNode(
                    id=id, domain=domain, region=region, state=state, attributes=dict(attributes)
                )
                return graph_pb2.Change(upsert_node=node)
            case DeleteNode(id):
                return graph_pb2.Change(delete_node=graph_pb2.DeleteNode(id=id))
            case DeleteEdge(source, target):
                return graph_pb2.Change(delete_edge=graph_pb2.DeleteEdge(source=source, target=target))
    except (TypeError, ValueError) as error:
        name = type(change).__name__
        raise InvalidChange(
            f"a value of this {name} has another type than its field: {error}", change=position
        ) from error
    raise InvalidChange(
        f"expected UpsertNode, DeleteNode, UpsertEdge or DeleteEdge, got {type(change).__name__}", change=position
    )


def _upsert_edge(position: int, change: UpsertEdge) -> graph_pb2.UpsertEdge:
    if change.cost is not None and change.cost_factor is not None:
        raise InvalidChange(
            "expected a cost or a cost factor, got both", change=position, field="upsert_edge.cost_factor"
        )
    message = graph_pb2.UpsertEdge(source=change.source, target=change.target, attributes=dict(change.attributes))
    if change.cost is not None:
        message.cost = change.cost
    if change.cost_factor is not None:
        message.cost_factor = change.cost_factor
    return message
