"""The rules that a change has to keep by itself, whatever the graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from planmesh.errors import InvalidChange, InvalidRequest, LimitExceeded
from planmesh.graph.model import COST_MAX
from planmesh.graph.rules import find_id_fault, find_label_fault, find_text_fault, shown
from planmesh.internal.v1 import partition_pb2
from planmesh.v1 import graph_pb2

CHANGES_MAX: Final = 10_000
"""Changes of one batch."""

KEY_BYTES_MAX: Final = 128
STATE_BYTES_MAX: Final = 64
ATTRIBUTES_MAX: Final = 32
"""Attributes of a node, or of an edge."""
ATTRIBUTE_KEY_BYTES_MAX: Final = 64
ATTRIBUTE_VALUE_BYTES_MAX: Final = 256


def check_request(request: partition_pb2.ChangeGraphRequest) -> None:
    """Check the size of a batch, its key and each of its changes.

    Raises InvalidRequest, LimitExceeded, and InvalidChange, which names the change and the field.
    """
    count = len(request.changes)
    if count == 0:
        raise InvalidRequest(f"changes: expected 1 to {CHANGES_MAX:,} changes, got none", field="changes")
    if count > CHANGES_MAX:
        raise LimitExceeded(
            f"changes: expected at most {CHANGES_MAX:,} changes in a batch, got {count:,}; send several batches",
            bound="CHANGES_MAX",
            field="changes",
        )
    if request.idempotency_key:
        fault = find_text_fault([request.idempotency_key], "idempotency_key", bytes_min=1, bytes_max=KEY_BYTES_MAX)
        if fault is not None:
            raise InvalidRequest(f"idempotency_key: {fault.message}", field="idempotency_key")
    for position, change in enumerate(request.changes):
        check_change(position, change)


def check_change(position: int, change: graph_pb2.Change) -> None:
    """Check one change. Raises InvalidChange."""
    op = change.WhichOneof("op")
    if op == "upsert_node":
        node = change.upsert_node
        _check_id(position, "upsert_node.id", node.id)
        for field in ("domain", "region"):
            fault = find_label_fault([getattr(node, field)], field)
            if fault is not None:
                raise InvalidChange(fault.message, change=position, field=f"upsert_node.{field}")
        if node.HasField("state"):
            _check_text(position, "upsert_node.state", node.state, STATE_BYTES_MAX)
        _check_attributes(position, "upsert_node.attributes", node.attributes)
    elif op == "delete_node":
        _check_id(position, "delete_node.id", change.delete_node.id)
    elif op == "upsert_edge":
        _check_edge(position, change.upsert_edge)
    elif op == "delete_edge":
        _check_id(position, "delete_edge.source", change.delete_edge.source)
        _check_id(position, "delete_edge.target", change.delete_edge.target)
    else:
        raise InvalidChange(
            "expected upsert_node, delete_node, upsert_edge or delete_edge, got none of them", change=position
        )


def check_cost(position: int, field: str, cost: float) -> None:
    """Check a cost: a finite number from 0 to COST_MAX."""
    if not 0.0 <= cost <= COST_MAX:
        raise InvalidChange(
            f"expected a finite cost from 0 to {COST_MAX:g}, got {cost!r}", change=position, field=field
        )


def check_attribute_count(position: int, field: str, attributes: Mapping[str, str]) -> None:
    """Check the number of attributes that a node or an edge has after a change."""
    if len(attributes) > ATTRIBUTES_MAX:
        raise InvalidChange(
            f"expected at most {ATTRIBUTES_MAX} attributes, got {len(attributes)}; remove some by an empty value",
            change=position,
            field=field,
        )


def _check_edge(position: int, edge: graph_pb2.UpsertEdge) -> None:
    _check_id(position, "upsert_edge.source", edge.source)
    _check_id(position, "upsert_edge.target", edge.target)
    if edge.source == edge.target:
        raise InvalidChange(
            f"expected another node than the source {shown(edge.source)}: an edge to itself is on no cheapest path",
            change=position,
            field="upsert_edge.target",
        )
    price = edge.WhichOneof("price")
    if price == "cost":
        check_cost(position, "upsert_edge.cost", edge.cost)
    elif price == "cost_factor" and not (math.isfinite(edge.cost_factor) and edge.cost_factor >= 0):
        raise InvalidChange(
            f"expected a finite factor from 0, got {edge.cost_factor!r}",
            change=position,
            field="upsert_edge.cost_factor",
        )
    _check_attributes(position, "upsert_edge.attributes", edge.attributes)


def _check_id(position: int, field: str, node_id: str) -> None:
    fault = find_id_fault([node_id], field)
    if fault is not None:
        raise InvalidChange(fault.message, change=position, field=field)


def _check_text(position: int, field: str, text: str, bytes_max: int) -> None:
    fault = find_text_fault([text], field, bytes_min=1, bytes_max=bytes_max)
    if fault is not None:
        raise InvalidChange(fault.message, change=position, field=field)


def _check_attributes(position: int, field: str, attributes: Mapping[str, str]) -> None:
    check_attribute_count(position, field, attributes)
    for key, value in attributes.items():
        _check_text(position, f"{field} (key)", key, ATTRIBUTE_KEY_BYTES_MAX)
        if value:
            _check_text(position, f"{field}[{shown(key)}]", value, ATTRIBUTE_VALUE_BYTES_MAX)
