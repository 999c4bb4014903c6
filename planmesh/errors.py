"""Every error that planmesh raises on purpose.

::

    PlanmeshError
    ├── InvalidRequest           the caller's request breaks a rule
    │   ├── InvalidGraph         a row of a load does: source, record, field
    │   ├── MessageUndecodable   its bytes are not a message of the rpc
    │   └── PatternRefused       a pattern query is wrong, or would write
    ├── NotFound
    │   ├── GraphUnknown
    │   ├── NodeUnknown          which node, and near matches
    │   └── NoPath
    ├── DeadlineExceeded
    ├── Unauthenticated
    ├── LimitExceeded            a bound, by name; smaller requests pass
    │   └── Overloaded           a rate or a queue is full; later requests pass
    ├── Conflict                 another load of the same graph is under way
    ├── Unavailable              a part of the mesh is away
    │   ├── BrokerUnavailable    Redis
    │   ├── WorkerUnavailable    no worker serves a shard
    │   ├── ServiceUnavailable   a service, or a version it can no longer serve
    │   └── StoreUnavailable     the store that a graph lives in
    ├── StoreError               a store that a graph lives in does not do what it was asked
    │   ├── StoreCredentials     it refuses our credentials, or the encryption cannot be agreed on
    │   ├── StoreRefused         it refused the work, for a reason of its own
    │   └── PatternsUnsupported  it has no pattern queries
    ├── SnapshotError            data at rest
    │   ├── SnapshotDamaged      a file failed its checksum or is missing
    │   └── VersionGone          the snapshot of a version was removed
    └── InternalError            a defect of planmesh

`planmesh.rpc.status` maps each to a gRPC code and an ErrorInfo reason; the client maps them back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

AnyError = TypeVar("AnyError", bound="PlanmeshError")


class PlanmeshError(Exception):
    """Base of all errors here.

    `message` says what was expected, what came, and what to do next. `metadata` holds the same facts for programs;
    it crosses the wire as ErrorInfo.metadata.
    """

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: dict[str, str] = dict(metadata)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        """How the error is pickled and copied: by its message, since constructors of subclasses compose messages."""
        return restore, (type(self), self.message), {**self.__dict__, "metadata": dict(self.metadata)}


def restore(error_class: type[AnyError], message: str) -> AnyError:
    """An error whose message is composed already; the caller sets what else the class keeps."""
    error = error_class.__new__(error_class, message)
    PlanmeshError.__init__(error, message)
    return error


class InvalidRequest(PlanmeshError):
    """The request breaks a rule; the same request will always fail."""


class InvalidGraph(InvalidRequest):
    """A row of a graph that is being loaded breaks a rule; the load is refused whole.

    `source` is the file, `record` the place in it ("line 17"), `field` the column.
    """

    def __init__(self, message: str, *, source: str = "", record: str = "", field: str = "", **metadata: str) -> None:
        place = ", ".join(part for part in (source, record, f"field {field}" if field else "") if part)
        super().__init__(
            f"{place}: {message}" if place else message, source=source, record=record, field=field, **metadata
        )


class MessageUndecodable(InvalidRequest):
    """The bytes of a message are not protobuf, or not of the type that the rpc takes."""


class PatternRefused(InvalidRequest):
    """The database refused a pattern query: it is wrong, or it would have written; the message has its reason."""


class NotFound(PlanmeshError):
    """What was asked for is not there."""


class GraphUnknown(NotFound):
    """No graph of that name is served."""

    def __init__(self, graph: str, message: str = "", **metadata: str) -> None:
        super().__init__(
            message or f"graph {graph!r} is not served; `planmesh status` lists those that are",
            **{**metadata, "graph": graph},
        )


class NodeUnknown(NotFound):
    """The graph has no node of that id."""

    def __init__(self, node: str, near: Sequence[str] = (), message: str = "", **metadata: str) -> None:
        hint = f"; near: {', '.join(near)}" if near else ""
        super().__init__(
            message or f"node {node!r} is not in the graph{hint}", **{"near": "\n".join(near), **metadata, "node": node}
        )

    @property
    def near(self) -> list[str]:
        """Ids near to the unknown one, best first."""
        return [name for name in self.metadata.get("near", "").split("\n") if name]


class NoPath(NotFound):
    """No path leads from start to goal, which is certain: all of the graph was considered."""

    def __init__(self, start: str, goal: str, message: str = "", **metadata: str) -> None:
        super().__init__(
            message or f"no path leads from {start!r} to {goal!r}", **{**metadata, "start": start, "goal": goal}
        )


class DeadlineExceeded(PlanmeshError):
    """Time ran out before an answer was found; it says nothing about whether there is one."""


class Unauthenticated(PlanmeshError):
    """The credentials are missing or wrong."""


class LimitExceeded(PlanmeshError):
    """A bound was exceeded; `bound` names it."""

    def __init__(self, message: str, *, bound: str = "", **metadata: str) -> None:
        super().__init__(message, **{**metadata, "bound": bound})


class Overloaded(LimitExceeded):
    """A rate or a queue is full; `retry_after_s` is when to come back."""

    def __init__(self, message: str, *, bound: str = "", retry_after_s: float = 1.0, **metadata: str) -> None:
        super().__init__(message, bound=bound, **metadata)
        self.retry_after_s = retry_after_s


class Conflict(PlanmeshError):
    """Something else is being done to the same graph."""


class Unavailable(PlanmeshError):
    """A part of the mesh is away; the same request may succeed later."""


class BrokerUnavailable(Unavailable):
    """Redis does not answer."""


class WorkerUnavailable(Unavailable):
    """No worker serves a shard that the plan needs."""


class ServiceUnavailable(Unavailable):
    """A service of the mesh does not answer or is not ready."""


class StoreUnavailable(Unavailable):
    """The store that a graph lives in cannot be reached, or broke off; `store` is its URL without a password."""

    def __init__(self, message: str, *, store: str = "", **metadata: str) -> None:
        super().__init__(f"{store}: {message}" if store else message, store=store, **metadata)


class StoreError(PlanmeshError):
    """A store that a graph lives in does not do what it was asked; `store` is its URL without a password."""

    def __init__(self, message: str, *, store: str = "", **metadata: str) -> None:
        super().__init__(f"{store}: {message}" if store else message, store=store, **metadata)


class StoreCredentials(StoreError):
    """The store refuses our credentials, or no encryption could be agreed on."""


class StoreRefused(StoreError):
    """The store refused what it was asked to do; the message has its own reason."""


class PatternsUnsupported(StoreError):
    """The store has no pattern queries; the message names those that have."""


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
    """A defect of planmesh: a promise that it makes to itself was broken."""
