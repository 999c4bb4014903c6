"""The page of docs/benchmarks that `bench.throughput` writes."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from bench.graphs import kind_of

BEFORE: Final = "52819197d393d0df23012fe0807249c73d415175"
"""The last commit in which every plan of a PlanMany was computed alone, and every plan was a call of its own."""

NOTES: Final = (
    "## Why figures are missed, and what was tried",
    "",
    "- **The floor.** An empty call costs the gateway most of its processor time of a plan. A bare server of grpc.aio, "
    "with a handler that returns its argument, took 0.24 ms a call on the same machine with the same 64 callers, and a "
    "synchronous one 0.15 ms. The stream behind the gateway made an empty call cheaper for the coordinator (0.33 to "
    "0.18 ms), not for the gateway. Next: fewer wake-ups of the gateway's event loop.",
    "- **64 callers.** Of two cores, an empty call takes two thirds of a millisecond, and a plan twice that: the "
    "caller and the gateway use more than coordinator and workers. Batches have about fifteen plans, because most of "
    "the 64 calls are in the client and the gateway at any time. Tried: a batch that begins as soon as a place is "
    "free had eight plans and took 1.87 ms of processor time a plan; waiting until as many wait as are computed took "
    "1.56 ms; sending the questions of one turn of the event loop together 1.44 ms. Next: the fixed cost of a batch, "
    "a task for each shard and some forty steps of Python in the coordinator.",
    "- **Roads.** No plan needs a second task since coordinators expand segments from mapped files; on New York this "
    "alone took plans from 765 to 1,044 a second and `PlanMany` from 1,092 to 2,402. What is left is the expansion: "
    "0.2 to 0.5 µs for each of some hundred steps, most of it waiting for memory. Next: the positions of a shortcut's "
    "halves in the index, so that expansion need not look for them.",
    "- **One caller.** Nothing is batched then. A plan waits for one task in each of two shards; both are sent, taken "
    "and answered through Redis. Next: fewer wake-ups on that way.",
    "- **Cost only.** The overlay search takes about 0.1 ms of a pair, with the nodes of the path; the two local "
    "searches as much. All searches of a task are one call of a kernel, which saved 10 µs a search. Next: a search "
    "that returns costs alone.",
    "- **Search in one process** expands shortcuts as the mesh does, so the same change is next.",
    "- **The price.** It uses the costs with eight plans in progress, measured on two cores that all processes share. "
    "With 64 in progress a plan costs half of that, but a coordinator that is busy for 60 % of the time does not have "
    "as many. Next: the fixed cost of a batch, as above.",
    "",
    "The simulation and the price use the costs in [scaling](scaling.md), measured by `make bench-scaling`.",
)
"""Causes of the shortfalls, below the tables."""

RATES: Final = (
    ("64 callers, plans/s", "plans_per_second"),
    ("64 callers, empty calls/s", "floor_per_second"),
    ("one caller, p50 of a plan, ms", "alone_p50_ms"),
    ("one caller, p50 of an empty call, ms", "alone_floor_p50_ms"),
)


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one mesh. `processor_ms` is the processor time of a plan by kind of process, with 64 callers."""

    plans_per_second: float
    floor_per_second: float
    alone_p50_ms: float
    alone_floor_p50_ms: float
    many_per_second: float
    many_costs_per_second: float | None
    many_processor_ms: float
    """Processor time of a pair of a PlanMany with steps, in all processes but the caller's."""
    processor_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Row:
    """A figure, what it should reach, and what was measured. `smaller` says that less is better."""

    what: str
    reach: float
    now: float
    before: float | None
    unit: str = ""
    smaller: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the figure reaches its target."""
        return self.now <= self.reach if self.smaller else self.now >= self.reach

    def cells(self) -> list[str]:
        """Return the cells of the row in the report's table."""
        bound = "≤" if self.smaller else "≥"
        before = "-" if self.before is None else f"{shown(self.before)}{self.unit}"
        outcome = "met" if self.is_met else "**missed**"
        return [self.what, f"{bound} {shown(self.reach)}{self.unit}", f"{shown(self.now)}{self.unit}", before, outcome]


@dataclass(slots=True)
class Found:
    """The rounds of one graph, by release."""

    graph: str
    nodes: int
    rounds: dict[str, list[Round]] = field(default_factory=dict)

    def median(self, release: str, name: str) -> float:
        """Return the median of a figure over the rounds."""
        return float(statistics.median(getattr(one, name) for one in self.rounds[release]))

    def ratio(self, release: str, above: str, below: str) -> float:
        """Return the median of the ratios of two figures of the same round."""
        return float(statistics.median(getattr(one, above) / getattr(one, below) for one in self.rounds[release]))

    def processor_ms(self, kind: str) -> tuple[float, float]:
        """Return the medians of the processor time of a plan in a kind of process: now, and before."""
        now, before = (
            statistics.median(one.processor_ms[kind] for one in self.rounds[release]) for release in ("now", "before")
        )
        return now, before

    def rows(self) -> Iterable[Row]:
        """Yield the figures with their targets."""
        is_road = kind_of(self.graph) != "service"
        of_floor = [self.ratio(release, "plans_per_second", "floor_per_second") for release in ("now", "before")]
        yield Row("64 callers, plans/s ÷ floor", 0.6 if is_road else 0.8, of_floor[0], of_floor[1])
        floors = self.median("now", "floor_per_second") / self.median("before", "floor_per_second")
        yield Row("floor, calls/s ÷ before", 1.5, floors, 1.0)
        alone = [self.ratio(release, "alone_p50_ms", "alone_floor_p50_ms") for release in ("now", "before")]
        yield Row("one caller, p50 ÷ floor", 2.5, alone[0], alone[1], smaller=True)
        many = [self.median(release, "many_per_second") for release in ("now", "before")]
        yield Row("`PlanMany` of 5,000, steps, plans/s", 2_500 if is_road else 4_000, many[0], many[1])
        yield Row("the same, cost only", 8_000, self.median("now", "many_costs_per_second"), None)
        cost = [self.median(release, "many_processor_ms") for release in ("now", "before")]
        yield Row("processor time of a pair of it, without the caller", 0.4, cost[0], cost[1], " ms", smaller=True)


def shown(figure: float) -> str:
    """Return a figure with three significant digits, or as a whole number."""
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def report(graphs: Iterable[Found], peers: Iterable[Row], machine: Mapping[str, str], began: str) -> str:
    """Return the page."""
    lines = [
        "# Throughput, and what a plan costs",
        "",
        f"Measured {began} on {machine['cores']} cores of {machine['processor']}, {machine['memory']}, caller "
        "included, by `make bench-throughput`. *Before* is the last commit in which every plan was a call of its own, "
        f"`{BEFORE[:12]}`, measured in turns with today's. *Floor* is empty calls over the two hops of a plan in the "
        "same round. Figures are medians of rounds; ratios are medians of the ratios of each round.",
    ]
    for found in graphs:
        lines += ["", f"## {found.graph}, {found.nodes:,} nodes", "", "| what | reach | now | before | |"]
        lines += ["| --- | --: | --: | --: | --- |", *(f"| {' | '.join(row.cells())} |" for row in found.rows())]
        lines += ["", "Rates and latencies behind the ratios:", "", "| | now | before |", "| --- | --: | --: |"]
        for what, name in RATES:
            lines.append(f"| {what} | {shown(found.median('now', name))} | {shown(found.median('before', name))} |")
        lines += ["", "Processor time of a plan with 64 callers, in ms, by kind of process:", ""]
        lines += ["| process | now | before |", "| --- | --: | --: |"]
        kinds = found.rounds["now"][0].processor_ms
        costs = {
            kind: [
                statistics.median(one.processor_ms[kind] for one in found.rounds[name]) for name in ("now", "before")
            ]
            for kind in kinds
        }
        lines += [f"| {kind} | {now:.3f} | {before:.3f} |" for kind, (now, before) in costs.items()]
        now, before = (sum(cost[place] for cost in costs.values()) for place in (0, 1))
        lines.append(f"| all | {now:.3f} | {before:.3f} |")
    others = [f"| {' | '.join([*row.cells()[:3], row.cells()[-1]])} |" for row in peers]
    if others:
        lines += ["", "## Beside routingkit-cch, and what the costs mean", ""]
        lines += ["| what | reach | now | |", "| --- | --: | --: | --- |", *others]
    return "\n".join([*lines, "", *NOTES]) + "\n"
