"""The page of docs/benchmarks that `bench.live` writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from bench.statistics import shown

NOTES: Final = (
    "## Why figures are missed, and what is next",
    "",
    "- **Plans beside changes.** While nothing is cheaper than in the base, plans are the base's own. A cheaper or new "
    "edge ends that: all plans then search level 1 of the overlay, not its upper levels, and a cheaper edge at a "
    "contracted node opens its partition for every plan. Uniform changes open nearly all: after 4,000 changes 761 of "
    "1,000 partitions, and a search takes twice as long as on the quiet graph. The kernels' inner loops were inlined "
    "meanwhile (17.5 to 10.8 ms for a search without changes, 1 M nodes). A search of the whole graph without an index "
    "is faster on this kind of graph than the mixed one: next, nodes that are opened are searched in arrays of their "
    "own. Then a cheaper edge as two terminals with the distances to the overlay nodes of its partition, as workers "
    "find them for start and goal, so that the partition stays closed.",
    "- **Alternatives.** An alternative takes one or two searches, each several times a plan by the indexes, and all "
    "together one backward search as far as the goal is. Tried: one such search for each path (3.5 times as slow). "
    "Next: searches from both sides for the bounds, which settle two small neighbourhoods and not one large.",
    "- **Avoiding one node in a hundred** nearly always hits the plan of the base, so the mixed graph is searched, and "
    "again with more partitions opened, as long as the path that was found uses something avoided.",
    "- **Merges** build the whole graph again, at low priority, on the same two cores. Next: only the partitions that "
    "changed.",
    "- **Not measured here:** ten million nodes, domains by Zipf, and ten minutes of changes (`make bench-live` with "
    "`--graphs service-10m --zipf --rate 300 --seconds 600`); reachable nodes and blast radii, which it measures now.",
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
