"""Records of what clients asked of a changing graph and what came back, as lines of JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import orjson

from planmesh.client import Change, DeleteEdge, DeleteNode, UpsertEdge, UpsertNode

OK: Final = "OK"
"""The outcome of a call without an error. Other outcomes are the names of error classes."""

IN_DOUBT: Final = frozenset(
    {"Unavailable", "BrokerUnavailable", "WorkerUnavailable", "ServiceUnavailable", "DeadlineExceeded"}
)
"""Outcomes that a fault excuses. They do not say whether an update was applied."""

REFUSED_FOR_NOW: Final = frozenset({"Overloaded", "LimitExceeded"})
"""Outcomes of a call that had no effect and may be repeated."""

EXCUSED: Final = IN_DOUBT | REFUSED_FOR_NOW

KINDS_OF_CHANGE: Final = {kind.__name__: kind for kind in (UpsertNode, DeleteNode, UpsertEdge, DeleteEdge)}

Pair: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The graph before the first update. Of parallel edges the cheapest counts."""

    version: int
    nodes: list[str]
    edges: list[tuple[str, str, float]]


@dataclass(frozen=True, slots=True)
class Update:
    """One attempt of an update; attempts with the same key are of one batch. Times are of one monotonic clock."""

    client: int
    key: str
    begin_s: float
    end_s: float
    outcome: str
    changes: list[dict[str, Any]]
    """As `change_record` makes them."""
    if_version: int | None = None
    ignore_missing: bool = False
    version: int = 0
    """That of the answer; of a VersionConflict, the version that the graph had."""
    repeated: bool = False
    stream: str = ""
    """The stream that it was sent on, if it was; all its batches begin when the stream does."""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """One pair of a plan, of a PlanMany or of a matrix."""

    client: int
    start: str
    goal: str
    begin_s: float
    end_s: float
    outcome: str
    min_version: int = 0
    at_version: int | None = None
    avoid_nodes: list[str] = field(default_factory=list)
    avoid_edges: list[Pair] = field(default_factory=list)
    method: str = "plan"
    version: int = 0
    """0 in errors. A cell of a matrix without a path has one, and the outcome NoPath."""
    cost: float = 0.0
    nodes: list[str] = field(default_factory=list)
    """Of the path; empty when only the cost was asked for."""
    step_costs: list[float] = field(default_factory=list)
    named: str = ""
    """The node that an error names."""
    cached: bool = False
    message: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """What was done to processes of the mesh, for the reader of a history."""

    begin_s: float
    end_s: float
    what: str


@dataclass(frozen=True, slots=True)
class Ended:
    """What GetGraph returned after the last call."""

    version: int
    base_version: int


Record: TypeAlias = Loaded | Update | Asked | Fault | Ended

KINDS: Final = {kind.__name__: kind for kind in (Loaded, Update, Asked, Fault, Ended)}


def change_record(change: Change) -> dict[str, Any]:
    """Return a change as values of JSON, without what is unset."""
    fields = {name: value for name, value in asdict(change).items() if value not in (None, {})}
    return {"kind": type(change).__name__, **fields}


def change_of(record: dict[str, Any]) -> Change:
    """Return the change of a record."""
    fields = {name: value for name, value in record.items() if name != "kind"}
    change: Change = KINDS_OF_CHANGE[record["kind"]](**fields)
    return change


def write_history(path: Path, records: Iterable[Record]) -> None:
    """Write a record a line."""
    with path.open("wb") as file:
        for record in records:
            file.write(orjson.dumps({"kind": type(record).__name__, **asdict(record)}) + b"\n")


def read_history(path: Path) -> Iterator[Record]:
    """Yield the records of a file."""
    with path.open("rb") as file:
        for line in file:
            fields = orjson.loads(line)
            yield KINDS[fields.pop("kind")](**fields)
