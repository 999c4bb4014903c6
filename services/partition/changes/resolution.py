"""Applies a batch to the changed state of a graph, and resolves it to what the log records and coordinators get."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from planmesh.errors import ChangeTargetUnknown, KeyReused, Overloaded, VersionConflict
from planmesh.graph.rules import shown
from planmesh.internal.v1 import partition_pb2
from planmesh.v1 import graph_pb2
from planmesh.versions.change_log import ChangeTransaction, EdgeState, KnownKey, NodeState
from services.partition.catalog.served import KnownVersion
from services.partition.changes.current_state import CurrentState
from services.partition.changes.rules import check_attribute_count, check_cost


@dataclass(frozen=True, slots=True)
class Applied:
    """The outcome of a batch. `batch` is what coordinators are told, None if an earlier attempt had applied it."""

    version: int
    changes: int
    batch: partition_pb2.ChangeBatch | None


@dataclass(slots=True)
class Room:
    """How many more changes of a graph are admitted, before some are merged into the indexes."""

    graph: str
    changes: int

    def take(self, count: int) -> None:
        """Take the place of a batch, which may be larger than what is left. Raises Overloaded if nothing is left."""
        if self.changes <= 0:
            raise Overloaded(
                f"too many changes of graph {self.graph!r} wait to be merged into the indexes; try again when the "
                "merge has ended, or raise PLANMESH_DELTA_EDGES_MAX",
                bound="delta_edges_max",
                retry_after_s=10.0,
            )
        self.changes -= count


def digest_of(request: partition_pb2.ChangeGraphRequest) -> bytes:
    """Return the digest by which a batch with a key that was used before is recognised as the same."""
    digest = hashlib.blake2b(digest_size=16)
    for change in request.changes:
        encoded = change.SerializeToString(deterministic=True)
        digest.update(len(encoded).to_bytes(4, "little"))
        digest.update(encoded)
    digest.update(bytes([request.ignore_missing]))
    return digest.digest()


def work_of(
    request: partition_pb2.ChangeGraphRequest, base: KnownVersion, room: Room
) -> Callable[[ChangeTransaction], Applied]:
    """Return the work of a batch that has passed `check_request`, for VersionStore.change.

    It raises VersionConflict, KeyReused, Overloaded, ChangeTargetUnknown, InvalidChange, and what SnapshotReader does.
    """
    digest = digest_of(request) if request.idempotency_key else b""

    def work(changed: ChangeTransaction) -> Applied:
        if request.idempotency_key:
            known = changed.known_key(request.idempotency_key)
            if known is not None:
                return _repeated(request, known, digest)
        if request.HasField("if_version") and request.if_version != changed.version:
            raise VersionConflict(
                f"expected version {request.if_version} of the graph, found {changed.version}; read it again",
                version=str(changed.version),
            )
        room.take(len(request.changes))
        resolver = _Resolver(CurrentState(base, changed), ignore_missing=request.ignore_missing)
        for position, change in enumerate(request.changes):
            resolver.apply(position, change)
        batch = partition_pb2.ChangeBatch(changes=resolver.resolved)

        def encode(version: int) -> bytes:
            batch.version = version
            return batch.SerializeToString()

        version = changed.append(len(resolver.resolved), encode)
        if request.idempotency_key:
            changed.put_key(request.idempotency_key, KnownKey(digest, version, len(request.changes)))
        return Applied(version, len(request.changes), batch)

    return work


def _repeated(request: partition_pb2.ChangeGraphRequest, known: KnownKey, digest: bytes) -> Applied:
    if known.digest != digest:
        raise KeyReused(
            f"idempotency_key: {shown(request.idempotency_key)} was used for other changes, which are version "
            f"{known.version}; use a new key",
            field="idempotency_key",
            version=str(known.version),
        )
    return Applied(known.version, known.applied, None)


class _Resolver:
    """Applies the changes of one batch, in order."""

    def __init__(self, state: CurrentState, *, ignore_missing: bool) -> None:
        self._state = state
        self._changed = state.changed
        self._ignore_missing = ignore_missing
        self.resolved: list[graph_pb2.Change] = []

    def apply(self, position: int, change: graph_pb2.Change) -> None:
        """Apply one change, and add what it comes to."""
        op = change.WhichOneof("op")
        if op == "upsert_node":
            self._upsert_node(position, change.upsert_node)
        elif op == "delete_node":
            self._delete_node(position, change.delete_node)
        elif op == "upsert_edge":
            self._upsert_edge(position, change.upsert_edge)
        else:
            self._delete_edge(position, change.delete_edge)

    def _upsert_node(self, position: int, node: graph_pb2.UpsertNode) -> None:
        before = self._state.node(node.id)
        if not before.present:
            before = NodeState(present=True)
        attributes = _merged(position, "upsert_node.attributes", before.attributes, node.attributes)
        after = NodeState(
            present=True,
            domain=node.domain if node.HasField("domain") else before.domain,
            region=node.region if node.HasField("region") else before.region,
            state=node.state if node.HasField("state") else before.state,
            attributes=attributes,
        )
        self._changed.put_node(node.id, after)
        self.resolved.append(graph_pb2.Change(upsert_node=node))

    def _delete_node(self, position: int, node: graph_pb2.DeleteNode) -> None:
        if not self._state.node(node.id).present:
            self._miss(position, "delete_node.id", f"expected the id of a node, found none with {shown(node.id)}")
            return
        for source, target, edge in list(self._state.edges_at(node.id)):
            self._changed.put_edge(source, target, EdgeState(None, edge.loaded_cost))
        self._changed.put_node(node.id, NodeState(present=False))
        self.resolved.append(graph_pb2.Change(delete_node=node))

    def _upsert_edge(self, position: int, edge: graph_pb2.UpsertEdge) -> None:
        for end in ("source", "target"):
            node_id = getattr(edge, end)
            if not self._state.node(node_id).present:
                raise ChangeTargetUnknown(
                    f"expected the id of a node, found none with {shown(node_id)}; create it first, by upsert_node",
                    change=position,
                    field=f"upsert_edge.{end}",
                )
        before = self._state.edge(edge.source, edge.target)
        cost = self._price(position, edge, before)
        known = before is not None and before.cost is not None
        attributes = before.attributes if before is not None and known else {}
        after = EdgeState(
            cost=cost,
            loaded_cost=before.loaded_cost if before is not None and known else cost,
            attributes=_merged(position, "upsert_edge.attributes", attributes, edge.attributes),
        )
        self._changed.put_edge(edge.source, edge.target, after)
        resolved = graph_pb2.UpsertEdge(source=edge.source, target=edge.target, attributes=edge.attributes)
        if edge.WhichOneof("price") is not None:
            resolved.cost = cost
        self.resolved.append(graph_pb2.Change(upsert_edge=resolved))

    def _price(self, position: int, edge: graph_pb2.UpsertEdge, before: EdgeState | None) -> float:
        """Return the cost of an edge after a change."""
        price = edge.WhichOneof("price")
        if price == "cost":
            return edge.cost
        if before is None or before.cost is None:
            raise ChangeTargetUnknown(
                f"expected an edge from {shown(edge.source)} to {shown(edge.target)}, found none; a new edge needs a "
                "cost",
                change=position,
                field="upsert_edge.cost_factor" if price == "cost_factor" else "upsert_edge.cost",
            )
        if price is None:
            return before.cost
        cost = before.loaded_cost * edge.cost_factor
        check_cost(position, "upsert_edge.cost_factor", cost)
        return cost

    def _delete_edge(self, position: int, edge: graph_pb2.DeleteEdge) -> None:
        before = self._state.edge(edge.source, edge.target)
        if before is None or before.cost is None:
            self._miss(
                position,
                "delete_edge.target",
                f"expected an edge from {shown(edge.source)} to {shown(edge.target)}, found none",
            )
            return
        self._changed.put_edge(edge.source, edge.target, EdgeState(None, before.loaded_cost))
        self.resolved.append(graph_pb2.Change(delete_edge=edge))

    def _miss(self, position: int, field: str, message: str) -> None:
        if not self._ignore_missing:
            raise ChangeTargetUnknown(
                f"{message}; ignore_missing lets a batch delete what is not there", change=position, field=field
            )


def _merged(position: int, field: str, before: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Return attributes after a change: an empty value removes one."""
    merged = {key: value for key, value in {**before, **given}.items() if value}
    check_attribute_count(position, field, merged)
    return merged
