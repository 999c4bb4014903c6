"""The results of a benchmark run, and their files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One subject on one graph. `stages_s` splits `load_s` into stages; `load_s` of a cache is that of the mesh."""

    graph: str
    nodes: int
    edges: int
    subject: str
    load_s: float
    memory_mb: float
    p50_ms: float
    p95_ms: float
    exact: bool
    checked: int
    wrong: int = 0
    stages_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NotRun:
    """A subject without a row on a graph, and the reason."""

    graph: str
    subject: str
    reason: str


@dataclass(slots=True)
class Results:
    """All results of a run; `measures` are those of the mesh as a whole, by graph and name."""

    size: str
    machine: dict[str, str]
    began: str
    rows: list[Row] = field(default_factory=list)
    not_run: list[NotRun] = field(default_factory=list)
    measures: dict[str, dict[str, Any]] = field(default_factory=dict)
    unreachable: dict[str, int] = field(default_factory=dict)
    others_share: dict[str, float] = field(default_factory=dict)
    """Share of the processors' time that other programs took during the queries, by graph."""
    notes: list[str] = field(default_factory=list)

    def done(self, graph: str, subject: str) -> bool:
        """Whether a subject is finished on a graph."""
        ended: list[Row | NotRun] = [*self.rows, *self.not_run]
        return any((one.graph, one.subject) == (graph, subject) for one in ended)

    def row(self, graph: str, subject: str) -> Row | None:
        """Return the row of a subject on a graph, if it exists."""
        return next((row for row in self.rows if (row.graph, row.subject) == (graph, subject)), None)

    def of_graph(self, graph: str) -> list[Row]:
        """Return the rows of a graph, the quickest first."""
        return sorted((row for row in self.rows if row.graph == graph), key=lambda row: row.p50_ms)

    def graphs(self) -> list[str]:
        """Return the graphs that have rows, in the order of the run."""
        return list(dict.fromkeys(row.graph for row in self.rows))

    def save(self, path: Path) -> None:
        """Write all results, so that a run can resume."""
        write_aside(path, json.dumps(asdict(self), indent=1))

    @classmethod
    def open(cls, path: Path) -> Results:
        """Read the results that `save` wrote."""
        found = json.loads(path.read_text("utf-8"))
        found["rows"] = [Row(**row) for row in found["rows"]]
        found["not_run"] = [NotRun(**one) for one in found["not_run"]]
        return cls(**found)


def rows_json(rows: Iterable[Row]) -> str:
    """Render the rows as JSON, one per line."""
    return "[\n" + ",\n".join(json.dumps(asdict(row)) for row in rows) + "\n]\n"


def write_aside(path: Path, text: str) -> None:
    """Write a file completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"new-{path.name}")
    aside.write_text(text, "utf-8")
    aside.replace(path)
