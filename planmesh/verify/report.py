"""What a verification found: findings, and a tally of what was looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from planmesh.search.verification import Fault

FINDINGS_MAX: Final = 1_000
"""Findings kept of one run; those beyond it are counted only. A file that is wrong throughout has one of each kind."""

UNSEARCHABLE: Final = frozenset(
    {
        *("missing", "checksum", "arrays", "shape", "firsts", "range", "costs", "rows", "rank", "numbers"),
        *("direction", "middle", "halves", "edge", "reverse", "boundary", "count", "manifest"),
    }
)
"""Checks after whose findings a file is not searched: kernels could leave its arrays, or not come to an end."""

REBUILD: Final = (
    "restart the mesh (`planmesh down`, then `planmesh up`): at its start the partition service rebuilds damaged files "
    "from the stored rows"
)
LOAD_AGAIN: Final = "do not trust plans of this version; load the graph again (`planmesh load`), which replaces it"
LOAD_ROWS: Final = "the rows that a damaged file would be rebuilt from are lost; load the graph again (`planmesh load`)"

Advance = Callable[[str, int, int], None]
"""Takes progress: the name of a check, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong in one file, `count` times; `expected`, `found` and `nodes` are of the first time.

    `partition` is the name of a partition, "" where none is concerned; `nodes` are ids. `advice` is what to do next.
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
        """As plain values."""
        return {**asdict(self), "nodes": list(self.nodes)}


@dataclass(slots=True)
class Tally:
    """One check: how many things it looked at, in its `unit`, how many findings it has, and how long it took."""

    name: str
    unit: str
    checked: int = 0
    findings: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "seconds": round(self.seconds, 3)}


@dataclass(slots=True)
class Verification:
    """What was verified, and the outcome. `skipped` says what could not be checked, and why."""

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
        """Nothing is wrong."""
        return self.findings_total == 0

    def add(self, tally: Tally, findings: Iterable[Finding]) -> bool:
        """Take findings of a check; returns whether there were any after which the file must not be searched."""
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
        """Give the tally of a check, which goes on where it was; the time inside is added to it."""
        tally = self.tallies.setdefault(name, Tally(name, unit))
        began_s = time.perf_counter()
        try:
            yield tally
        finally:
            tally.seconds += time.perf_counter() - began_s

    def to_json(self) -> dict[str, Any]:
        """As plain values; docs/reference/cli-json.md names them."""
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
    """Return a fault of a file's arrays as a finding."""
    return Finding(file, partition, fault.check, fault.times, nodes, fault.expected, fault.found, advice)
