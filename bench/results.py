"""What a run of the benchmark has found, and its files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One subject on one graph. `load_s` of a cache is that of the mesh; `parts_s` says what the load consists of."""

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
    parts_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NotRun:
    """A subject that has no row on a graph, and why."""

    graph: str
    subject: str
    reason: str


@dataclass(slots=True)
class Results:
    """All of a run; `measures` are those of the mesh as a whole, by graph and name."""

    size: str
    machine: dict[str, str]
    began: str
    rows: list[Row] = field(default_factory=list)
    not_run: list[NotRun] = field(default_factory=list)
    measures: dict[str, dict[str, Any]] = field(default_factory=dict)
    unreachable: dict[str, int] = field(default_factory=dict)
    others_share: dict[str, float] = field(default_factory=dict)
    """Of the processors' time, by graph: what other work took while queries ran."""
    notes: list[str] = field(default_factory=list)

    def done(self, graph: str, subject: str) -> bool:
        """Whether nothing is left to do for a subject on a graph."""
        ended: list[Row | NotRun] = [*self.rows, *self.not_run]
        return any((one.graph, one.subject) == (graph, subject) for one in ended)

    def row(self, graph: str, subject: str) -> Row | None:
        """The row of a subject on a graph."""
        return next((row for row in self.rows if (row.graph, row.subject) == (graph, subject)), None)

    def of_graph(self, graph: str) -> list[Row]:
        """Its rows, the quickest first."""
        return sorted((row for row in self.rows if row.graph == graph), key=lambda row: row.p50_ms)

    def graphs(self) -> list[str]:
        """The graphs that have rows, in the order they were run."""
        return list(dict.fromkeys(row.graph for row in self.rows))

    def save(self, path: Path) -> None:
        """Write all of it, to go on from."""
        write_aside(path, json.dumps(asdict(self), indent=1))

    @classmethod
    def open(cls, path: Path) -> Results:
        """Read what `save` wrote."""
        found = json.loads(path.read_text("utf-8"))
        found["rows"] = [Row(**row) for row in found["rows"]]
        found["not_run"] = [NotRun(**one) for one in found["not_run"]]
        return cls(**found)


def rows_json(rows: Iterable[Row]) -> str:
    """The rows for programs, one a line."""
    return "[\n" + ",\n".join(json.dumps(asdict(row)) for row in rows) + "\n]\n"


def write_aside(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"new-{path.name}")
    aside.write_text(text, "utf-8")
    aside.replace(path)
