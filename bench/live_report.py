"""The page of docs/benchmarks that `bench.live` writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from bench.statistics import shown

NOTES: Final = (
    "## Why figures are missed, and what is next",
    "",
    "- **Plans beside changes.** A cheaper or new edge at a contracted node opens its partition for every plan until "
    "the next base, and all plans on a changed graph search level 1 of the overlay, not its upper levels. Uniform "
    "changes open partition after partition. Next: a cheaper edge as two terminals with the distances to the overlay "
    "nodes of its partition, as workers find them for start and goal, so that the partition stays closed; and the "
    "base's plan first, which is today's when nothing on it became dearer and nothing anywhere became cheaper.",
    "- **Merges.** A merge builds the whole graph again, at low priority, on the same two cores. Next: only the "
    "partitions that changed.",
    "- **The first update** of a base waits until the coordinator has sorted the level-1 edges by head. Next: to keep "
    "that order in the overlay's file.",
)


@dataclass(frozen=True, slots=True)
class Row:
    """A figure, and what it should reach; both None if it was not measured, reach None if nothing is promised."""

    what: str
    reach: float | None
    now: float | None
    unit: str = ""
    smaller: bool = False
    detail: str = ""

    @property
    def outcome(self) -> str:
        """Whether the figure reaches its target."""
        if self.reach is None or self.now is None:
            return ""
        return "met" if (self.now <= self.reach if self.smaller else self.now >= self.reach) else "**missed**"

    def cells(self) -> list[str]:
        """Return the cells of the row."""
        reach = "" if self.reach is None else f"{'≤' if self.smaller else '≥'} {shown(self.reach)}{self.unit}"
        now = "-" if self.now is None else f"{shown(self.now)}{self.unit}"
        return [self.what, reach, now, self.detail, self.outcome]

    def text(self) -> str:
        """Return the row as a line."""
        return " | ".join(filter(None, self.cells()))


@dataclass(slots=True)
class Found:
    """The figures of one graph."""

    graph: str
    nodes: int
    rows: list[Row] = field(default_factory=list)
    peers: list[Row] = field(default_factory=list)
    checked: int = 0
    wrong: int = 0


def report(graphs: Iterable[Found], machine: Mapping[str, str], began: str) -> str:
    """Return the page."""
    lines = [
        "# A graph that changes",
        "",
        f"Measured {began} on {machine['cores']} cores of {machine['processor']}, {machine['memory']}, caller "
        "included, by `make bench-live`. *Quiet* is the same mesh before the first change. Plans are asked without "
        "caches, by one caller, and by four beside changes. Changes are 60 % costs, 20 % nodes down or up, 10 % new "
        "edges, 10 % deleted ones, each a durable batch of its own.",
    ]
    for found in graphs:
        lines += ["", f"## {found.graph}, {found.nodes:,} nodes", "", "| what | reach | now | | |"]
        lines += ["| --- | --: | --: | --- | --- |", *(f"| {' | '.join(row.cells())} |" for row in found.rows)]
        lines += [
            "",
            f"After all changes, {found.checked} answers were compared with a plain search: {found.wrong} wrong.",
        ]
        if found.peers:
            lines += ["", "Peers, with the same graph:", "", "| what | now | |", "| --- | --: | --- |"]
            for row in found.peers:
                what, _, now, detail, _ = row.cells()
                lines.append(f"| {what} | {now} | {detail} |")
    return "\n".join([*lines, "", *NOTES]) + "\n"
