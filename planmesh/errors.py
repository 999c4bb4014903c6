"""The errors that planmesh raises on purpose.

::

    PlanmeshError
    ├── InvalidRequest           the caller's request breaks a rule
    │   ├── InvalidGraph         a row of a load breaks a rule: source, record, field
    │   ├── MessageUndecodable   the bytes are not a message of the rpc
    │   ├── PatternRefused       a pattern query is wrong, or would write
    │   └── InvalidChange        a change of an update breaks a rule: change, field
    ├── NotFound
    │   ├── GraphUnknown
    │   ├── NodeUnknown          with the unknown id and similar ones
    │   ├── NoPath
    │   └── ChangeTargetUnknown  a change needs a node or an edge that does not exist: change, field
    ├── DeadlineExceeded
    ├── Unauthenticated
    ├── LimitExceeded            a named bound; smaller requests pass
    │   └── Overloaded           a rate or a queue is full; later requests pass
    ├── Conflict                 another load of the same graph is in progress
    │   ├── VersionConflict      the graph has another version than the update expects: version
    │   └── KeyReused            the idempotency key was used for another update
    ├── NodeDown                 the start or the goal of a plan is down
    ├── Unavailable              a process of the mesh is down
    │   ├── BrokerUnavailable    Redis
    │   ├── WorkerUnavailable    no worker serves a shard
    │   ├── ServiceUnavailable   a service, or a version it can no longer serve
    │   └── StoreUnavailable     the store that a graph lives in
    ├── StoreError               the store that a graph lives in did not do what was requested
    │   ├── StoreCredentials     it refused our credentials, or encryption could not be negotiated
    │   ├── StoreRefused         it refused the operation, for its own reason
    │   └── PatternsUnsupported  it has no pattern queries
    ├── SnapshotError            data at rest
    │   ├── SnapshotDamaged      a file failed its checksum or is missing
    │   └── VersionGone          the snapshot of a version was removed
    └── InternalError            a defect of planmesh

`planmesh.rpc.status` maps each error to a gRPC code and an ErrorInfo reason. The client maps them back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

AnyError = TypeVar("AnyError", bound="PlanmeshError")


class PlanmeshError(Exception):
    """Base class of all errors of planmesh.

    `message` says what was expected, what came, and what to do next. `metadata` has the same facts for programs; on the
    wire it is ErrorInfo.metadata.
    """

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: dict[str, str] = dict(metadata)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        """Pickle and copy by the composed message, because constructors of subclasses compose it from arguments."""
        return restore, (type(self), self.message), {**self.__dict__, "metadata": dict(self.metadata)}


def restore(error_class: type[AnyError], message: str) -> AnyError:
    """Return an error with a message that is already composed. The caller sets any further attributes of the class."""
    error = error_class.__new__(error_class, message)
    PlanmeshError.__init__(error, message)
    return error


def place_in_batch(change: int, field: str) -> str:
    """Return the beginning of a message about a change of a batch."""
    return f"changes[{change}]{f'.{field}' if field else ''}: " if change >= 0 else ""


def _place_facts(change: int, field: str) -> dict[str, str]:
    return {"change": str(change), "field": field} if change >= 0 else {}


class InvalidRequest(PlanmeshError):
    """The request breaks a rule; the same request will always fail."""


class InvalidGraph(InvalidRequest):
    """A row of a load breaks a rule. The whole load is refused.

    `source` is the file, `record` the place in it ("line 17"), `field` the column.
    """

    def __init__(self, message: str, *, source: str = "", record: str = "", field: str = "", **metadata: str) -> None:
        place = ", ".join(text for text in (source, record, f"field {field}" if field else "") if text)
        super().__init__(
            f"{place}: {message}" if place else message, source=source, record=record, field=field, **metadata
        )


class MessageUndecodable(InvalidRequest):
    """The bytes of a message are not protobuf, or not of the type that the rpc expects."""


class PatternRefused(InvalidRequest):
    """The database refused a pattern query, because it is wrong or would write. The message has its reason."""


class InvalidChange(InvalidRequest):
    """A change of an update breaks a rule. The whole batch is refused.

    `change` is its position in the batch, from 0; `field` is the name of its field, such as "upsert_edge.cost".
    """

    def __init__(self, message: str, *, change: int = -1, field: str = "", **metadata: str) -> None:
        super().__init__(place_in_batch(change, field) + message, **_place_facts(change, field), **metadata)


class NotFound(PlanmeshError):
    """The requested object does not exist."""


class GraphUnknown(NotFound):
    """No graph with that name is served."""

    def __init__(self, graph: str, message: str = "", **metadata: str) -> None:
        super().__init__(
            message or f"graph {graph!r} is not served; `planmesh status` lists those that are",
            **{**metadata, "graph": graph},
        )


class NodeUnknown(NotFound):
    """The graph has no node with that id."""

    def __init__(self, node: str, near: Sequence[str] = (), message: str = "", **metadata: str) -> None:
        hint = f"; near: {', '.join(near)}" if near else ""
        super().__init__(
            message or f"node {node!r} is not in the graph{hint}", **{"near": "\n".join(near), **metadata, "node": node}
        )

    @property
    def near(self) -> list[str]:
        """Ids that are similar to the unknown one, the most similar first."""
        return [name for name in self.metadata.get("near", "").split("\n") if name]


class NoPath(NotFound):
    """No path leads from start to goal. This is certain, because the search covered the whole graph."""

    def __init__(self, start: str, goal: str, message: str = "", **metadata: str) -> None:
        super().__init__(
            message or f"no path leads from {start!r} to {goal!r}", **{**metadata, "start": start, "goal": goal}
        )


class ChangeTargetUnknown(NotFound):
    """A change needs a node or an edge that does not exist. The whole batch is refused. See InvalidChange."""

    def __init__(self, message: str, *, change: int = -1, field: str = "", **metadata: str) -> None:
        super().__init__(place_in_batch(change, field) + message, **_place_facts(change, field), **metadata)


class DeadlineExceeded(PlanmeshError):
    """The deadline passed before an answer was found. It does not say whether there is a path."""


class Unauthenticated(PlanmeshError):
    """The credentials are missing or wrong."""


class LimitExceeded(PlanmeshError):
    """A bound was exceeded. `metadata["bound"]` names it."""

    def __init__(self, message: str, *, bound: str = "", **metadata: str) -> None:
        super().__init__(message, **{**metadata, "bound": bound})


class Overloaded(LimitExceeded):
    """A rate or a queue is full. Retry after `retry_after_s` seconds."""

    def __init__(self, message: str, *, bound: str = "", retry_after_s: float = 1.0, **metadata: str) -> None:
        super().__init__(message, bound=bound, **metadata)
        self.retry_after_s = retry_after_s


class Conflict(PlanmeshError):
    """Another operation on the same graph is in progress."""


class VersionConflict(Conflict):
    """The graph has another version than the update expects. `metadata["version"]` is the graph's version."""


class KeyReused(Conflict):
    """The idempotency key was used for another update."""


class NodeDown(PlanmeshError):
    """The start or the goal of a plan is down. `metadata["node"]` is its id."""


class Unavailable(PlanmeshError):
    """A process of the mesh is down. The same request may succeed later."""


class BrokerUnavailable(Unavailable):
    """Redis does not answer."""


class WorkerUnavailable(Unavailable):
    """No worker serves a shard that the plan needs."""


class ServiceUnavailable(Unavailable):
    """A service of the mesh does not answer or is not ready."""


class StoreUnavailable(Unavailable):
    """The store that a graph lives in cannot be reached, or the connection broke.

    `store` is its URL without a password.
    """

    def __init__(self, message: str, *, store: str = "", **metadata: str) -> None:
        super().__init__(f"{store}: {message}" if store else message, store=store, **metadata)


class StoreError(PlanmeshError):
    """The store that a graph lives in did not do what was requested. `store` is its URL without a password."""

    def __init__(self, message: str, *, store: str = "", **metadata: str) -> None:
        super().__init__(f"{store}: {message}" if store else message, store=store, **metadata)


class StoreCredentials(StoreError):
    """The store refused our credentials, or encryption could not be negotiated."""


class StoreRefused(StoreError):
    """The store refused an operation. The message has its own reason."""


class PatternsUnsupported(StoreError):
    """The store has no pattern queries. The message names the stores that have them."""


class SnapshotError(PlanmeshError):
    """Data at rest cannot be used."""


class SnapshotDamaged(SnapshotError):
    """A file of a snapshot failed its checksum, cannot be read, or is missing."""

    def __init__(self, file: str, message: str, **metadata: str) -> None:
        super().__init__(f"{file}: {message}", **{**metadata, "file": file})
        self.file = file


class VersionGone(SnapshotError):
    """The snapshot of that version was removed, because a newer one is served."""


class InternalError(PlanmeshError):
    """A defect of planmesh: an internal invariant does not hold."""
