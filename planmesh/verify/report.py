"""The result of a verification: findings, and a tally for each check."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from planmesh.search.verification import Fault

FINDINGS_MAX: Final = 1_000
"""Most findings that one run keeps. Further ones are only counted. A completely wrong file has one finding a check."""

UNSEARCHABLE: Final = frozenset(
    {
        *("missing", "checksum", "arrays", "shape", "firsts", "range", "costs", "rows", "rank", "numbers"),
        *("direction", "middle", "halves", "edge", "reverse", "boundary", "count", "manifest"),
    }
)
"""Checks whose findings forbid a search of the file: a kernel might leave the file's arrays, or never terminate."""

REBUILD: Final = (
    "restart the mesh (`planmesh down`, then `planmesh up`): at its start the partition service rebuilds damaged files "
    "from the stored rows"
)
LOAD_AGAIN: Final = "do not trust plans of this version; load the graph again (`planmesh load`), which replaces it"
LOAD_CHANGES: Final = (
    "changes of this graph may be lost or wrong: keep a copy of the folder `store` for a report, load the graph again "
    "(`planmesh load`), and send the updates that the load lacks again"
)
RESTORE_CATALOG: Final = (
    "the disk or a person changed the catalog, which all graphs share: stop the mesh, and restore the data folder from "
    "a backup, or load every graph again into an empty one"
)
LOAD_ROWS: Final = "the rows that a damaged file would be rebuilt from are lost; load the graph again (`planmesh load`)"

Advance = Callable[[str, int, int], None]
"""Receives progress: the name of a check, how much of it is done, and its total."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault in one file, which occurs `count` times. `expected`, `found` and `nodes` describe the first occurrence.

    `partition` is the name of a partition, "" for a fault of the whole graph. `nodes` are ids. `advice` says what to do
    next.
    """

    file: str
    partition: str
    check: str
    count: int
    nodes: tuple[str, ...]
    expected: str
    found: str
    advice: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; docs/reference/cli-json.md describes them."""
        return {**asdict(self), "nodes": list(self.nodes)}


@dataclass(slots=True)
class Tally:
    """The summary of one check: how many things it examined, counted in its `unit`, its findings and its time."""

    name: str
    unit: str
    checked: int = 0
    findings: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, with the time rounded to milliseconds."""
        return {**asdict(self), "seconds": round(self.seconds, 3)}


@dataclass(slots=True)
class Verification:
    """The subject and the outcome of a verification. `skipped` says what could not be checked, and why."""

    graph: str
    version: int
    snapshot: str
    rows: str
    partition: str | None
    pairs: int
    seed: int
    tallies: dict[str, Tally] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    findings_total: int = 0
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether there is no finding."""
        return self.findings_total == 0

    def add(self, tally: Tally, findings: Iterable[Finding]) -> bool:
        """Add findings of a check; return whether one of them forbids a search of the file (UNSEARCHABLE)."""
        unsearchable = False
        for finding in findings:
            tally.findings += 1
            self.findings_total += 1
            if len(self.findings) < FINDINGS_MAX:
                self.findings.append(finding)
            unsearchable = unsearchable or finding.check in UNSEARCHABLE
        return unsearchable

    @contextmanager
    def measured(self, name: str, unit: str) -> Iterator[Tally]:
        """Yield the tally of a check, new or continued, and add the time spent in the context to it."""
        tally = self.tallies.setdefault(name, Tally(name, unit))
        began_s = time.perf_counter()
        try:
            yield tally
        finally:
            tally.seconds += time.perf_counter() - began_s

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as JSON values; docs/reference/cli-json.md describes them."""
        return {
            "graph": self.graph,
            "version": self.version,
            "snapshot": self.snapshot,
            "rows": self.rows,
            "partition": self.partition,
            "pairs": self.pairs,
            "seed": self.seed,
            "ok": self.ok,
            "checks": [tally.to_json() for tally in self.tallies.values()],
            "findings": [finding.to_json() for finding in self.findings],
            "findings_total": self.findings_total,
            "skipped": self.skipped,
            "seconds": round(self.seconds, 3),
        }


def finding_of(
    fault: Fault, file: str, partition: str, nodes: tuple[str, ...] = (), advice: str = LOAD_AGAIN
) -> Finding:
    """Return a fault as a finding in `file`. `nodes` are the ids of the fault's nodes."""
    return Finding(file, partition, fault.check, fault.times, nodes, fault.expected, fault.found, advice)
