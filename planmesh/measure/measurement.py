"""One measurement of a running mesh."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from planmesh.client import AsyncClient, Detail, NodeRows, Plan
from planmesh.errors import InvalidRequest, NoPath, PlanmeshError
from planmesh.measure.check import Claim, GraphBuilder, Mismatch, ReferenceGraph
from planmesh.measure.closed_loop import Outcomes, run_closed_loop
from planmesh.measure.pair_lines import Pair
from planmesh.measure.pairs import random_pairs
from planmesh.measure.statistics import Percentiles, per_second, share
from planmesh.rpc.status import code_of

SLICES: Final = 5
"""Slices of the plans, with empty calls before, between and after them: both see the same varying machine load."""

WARM_UP_MAX: Final = 50
"""Plans before the measurement, which open connections and map files."""

SAMPLE_NODES_MAX: Final = 20_000
"""Largest number of ids in one `sample_nodes` call."""

FLOOR_SHARE: Final = 0.5
"""Number of empty calls, as a share of the plans."""

Progress = Callable[[str, float], None]
"""Receives the current activity and the share done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class MeasureOptions:
    """What to measure. If `pairs` is None, random pairs are drawn from `seed`."""

    graph: str
    queries: int
    concurrency: int
    seed: int = 1
    pairs: Sequence[Pair] | None = None
    bypass_cache: bool = False
    check: bool = False
    timeout_s: float = 10.0
    detail: Detail | str = Detail.STEPS


@dataclass(slots=True)
class Measurement:
    """The results of one measurement."""

    options: MeasureOptions
    plans: Outcomes[Pair, Plan]
    floor: Outcomes[None, None]
    tasks: int
    mismatches: list[Mismatch] | None = None
    failures: list[tuple[Pair, PlanmeshError]] = field(default_factory=list)

    @property
    def no_path(self) -> int:
        """Number of pairs for which the mesh answered that no path exists."""
        return sum(1 for _, error in self.plans.errors if isinstance(error, NoPath))

    @property
    def errors(self) -> dict[str, int]:
        """Number of failures for each status code."""
        return dict(Counter(code_of(error).name for _, error in self.failures))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of docs/reference/cli-json.md."""
        answers = [plan for _, plan in self.plans.answers]
        return {
            "graph": self.options.graph,
            "queries": self.plans.count,
            "concurrency": self.options.concurrency,
            "answered": len(answers),
            "no_path": self.no_path,
            "errors": self.errors,
            "mismatches": None if self.mismatches is None else len(self.mismatches),
            "latency_ms": Percentiles.of(self.plans.latencies_ms).to_json(),
            "floor_ms": Percentiles.of(self.floor.latencies_ms).to_json(),
            "plans_per_second": round(per_second(self.plans.count, self.plans.seconds), 1),
            "floor_per_second": round(per_second(self.floor.count, self.floor.seconds), 1),
            "cross_partition_share": round(share(sum(len(p.partitions) > 1 for p in answers), len(answers)), 4),
            "cache_hit_rate": round(share(sum(plan.cached for plan in answers), len(answers)), 4),
            "tasks": self.tasks,
            "seed": self.options.seed if self.options.pairs is None else None,
            "detail": str(self.options.detail),
        }


async def measure(client: AsyncClient, options: MeasureOptions, progress: Progress) -> Measurement:
    """Measure a mesh.

    Raises the mesh's error when measuring is impossible, for example for an unknown graph or an unreachable mesh.
    """
    sample_count = min(2 * options.queries, SAMPLE_NODES_MAX)
    sample = await client.sample_nodes(
        sample_count, seed=options.seed, graph=options.graph, timeout_s=options.timeout_s
    )
    pairs = list(options.pairs) if options.pairs is not None else random_pairs(
        sample.ids, options.queries, options.seed
    )  # fmt: skip
    if not pairs:
        raise InvalidRequest("expected at least one pair to measure, got none")

    async def ask(pair: Pair) -> Plan:
        return await client.plan(
            *pair,
            graph=options.graph,
            detail=options.detail,
            bypass_cache=options.bypass_cache,
            timeout_s=options.timeout_s,
        )

    async def ping(_: None) -> None:
        await client.ping(timeout_s=options.timeout_s)

    progress("warm up", 0.0)
    await _warm_up(client, options, sample.ids)
    tasks_before = (await client.status(timeout_s=options.timeout_s)).counters.tasks
    measurement = Measurement(options, Outcomes(), Outcomes(), tasks=0)
    floor_calls = max(int(len(pairs) * FLOOR_SHARE) // (SLICES + 1), options.concurrency)
    for number, pairs_of_slice in enumerate(_slices(pairs, SLICES)):
        progress("measure", number / SLICES)
        measurement.floor.extend(await run_closed_loop(ping, [None] * floor_calls, options.concurrency))
        measurement.plans.extend(await run_closed_loop(ask, pairs_of_slice, options.concurrency))
    measurement.floor.extend(await run_closed_loop(ping, [None] * floor_calls, options.concurrency))
    measurement.tasks = (await client.status(timeout_s=options.timeout_s)).counters.tasks - tasks_before
    measurement.failures = [item for item in measurement.plans.errors if not isinstance(item[1], NoPath)]
    if options.check:
        measurement.mismatches = await _check(client, measurement, sample.version, progress)
    progress("done", 1.0)
    return measurement


async def _warm_up(client: AsyncClient, options: MeasureOptions, ids: Sequence[str]) -> None:
    """Compute plans between other pairs than the measured ones, bypassing the caches. The answers are not counted."""
    pairs = random_pairs(ids, min(WARM_UP_MAX, options.queries), options.seed + 1)

    async def ask(pair: Pair) -> Plan:
        return await client.plan(
            *pair, graph=options.graph, detail=options.detail, bypass_cache=True, timeout_s=options.timeout_s
        )

    await run_closed_loop(ask, pairs, options.concurrency)


def _slices(pairs: Sequence[Pair], count: int) -> Iterator[Sequence[Pair]]:
    for number in range(count):
        pairs_of_slice = pairs[len(pairs) * number // count : len(pairs) * (number + 1) // count]
        if pairs_of_slice:
            yield pairs_of_slice


async def _check(
    client: AsyncClient, measurement: Measurement, sampled_version: int, progress: Progress
) -> list[Mismatch]:
    """Compare every answer with the reference, on the version of the graph that it was computed on."""
    claims: dict[int, list[Claim]] = {}
    for (start, goal), plan in measurement.plans.answers:
        has_steps = plan.detail is not Detail.COST
        steps = [(step.source, step.target, step.cost) for step in plan.steps] if has_steps else None
        claims.setdefault(plan.version, []).append(Claim(start, goal, plan.cost, steps))
    for (start, goal), error in measurement.plans.errors:
        if isinstance(error, NoPath):
            version = int(error.metadata.get("version") or sampled_version)
            claims.setdefault(version, []).append(Claim(start, goal, float("inf"), ()))
    mismatches: list[Mismatch] = []
    for version, of_version in sorted(claims.items()):
        progress(f"export version {version}", 0.0)
        graph = await export_reference(client, measurement.options.graph, version)
        progress(f"check {len(of_version):,} answers", 0.0)
        mismatches += graph.check(of_version, threads=os.cpu_count() or 1)
    return mismatches


async def export_reference(client: AsyncClient, graph: str, version: int) -> ReferenceGraph:
    """Export one version of a graph from the mesh, for checking answers."""
    builder = GraphBuilder()
    async for rows in client.export(graph=graph, version=version):
        if isinstance(rows, NodeRows):
            builder.add_nodes(rows.ids)
        else:
            builder.add_edges(rows.sources, rows.targets, rows.costs or None)
    return builder.finish()
