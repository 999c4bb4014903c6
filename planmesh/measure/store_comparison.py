"""The same pairs asked of the store that a graph lives in, and of the mesh, a few of one and then of the other."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from planmesh.client import AsyncClient, Plan
from planmesh.errors import DeadlineExceeded, InvalidRequest, NoPath, PlanmeshError
from planmesh.measure.check import RELATIVE_TOLERANCE, Claim, Mismatch
from planmesh.measure.hot_answers import HotAnswers, measure_hot
from planmesh.measure.measurement import export_reference
from planmesh.measure.pair_lines import Pair
from planmesh.measure.pairs import random_pairs
from planmesh.measure.statistics import Percentiles
from planmesh.rpc.status import reason_of
from planmesh.store.protocol import GraphStore, StoredPath

SAMPLE_NODES_MAX: Final = 20_000
"""Ids that the mesh draws in one call."""

WARM_UP: Final = 3
"""Questions to both sides before the measurement: connections are made, and a store prepares what it searches on."""

TURN_PAIRS: Final = 10
"""Questions to one side before the other is asked the same: neither finds the processors' caches full of the other."""

WARM_UP_S_MAX: Final = 120.0
"""Longest that the first question to a store may take: Neo4j copies the graph into memory for it."""

Tell = Callable[[str, float], None]
"""Gets what is being done and how much of it, 0 to 1."""


@dataclass(frozen=True, slots=True)
class StoreMeasureOptions:
    """What to measure. `pairs` None draws random ones from `seed`.

    `store_timeout_s` bounds one question to the store; when all of them together took `store_total_s`, the rest is not
    asked, of neither side.
    """

    graph: str
    queries: int
    concurrency: int = 1
    seed: int = 1
    pairs: Sequence[Pair] | None = None
    bypass_cache: bool = False
    timeout_s: float = 10.0
    store_timeout_s: float = 10.0
    store_total_s: float = 300.0
    hot_threshold: int = 0
    """Questions that make a pair of a hybrid store hot, 0 for other stores."""


@dataclass(slots=True)
class Side:
    """What one side answered. A time-out counts with the time after which it was given up."""

    latencies_ms: list[float] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    """One for each pair that was answered, or has no path."""
    versions: list[int] = field(default_factory=list)
    """Of the mesh: the version of each claim."""
    failures: list[tuple[Pair, PlanmeshError]] = field(default_factory=list)
    mismatches: list[Mismatch] = field(default_factory=list)

    @property
    def no_path(self) -> int:
        """Pairs of which it said that there is no path."""
        return sum(math.isinf(claim.cost) for claim in self.claims)

    @property
    def time_outs(self) -> int:
        """Questions that were given up."""
        return sum(isinstance(error, DeadlineExceeded) for _, error in self.failures)

    @property
    def errors(self) -> dict[str, int]:
        """Other failures by reason."""
        return dict(Counter(reason_of(error) for _, error in self.failures if not isinstance(error, DeadlineExceeded)))

    def costs(self) -> dict[Pair, float]:
        """The cost of every pair that has one, infinite without a path."""
        return {(claim.start, claim.goal): claim.cost for claim in self.claims}

    def to_json(self) -> dict[str, Any]:
        """As docs/cli-json.md has it."""
        return {
            "answered": len(self.claims) - self.no_path,
            "no_path": self.no_path,
            "time_outs": self.time_outs,
            "errors": self.errors,
            "mismatches": len(self.mismatches),
            "latency_ms": Percentiles.of(self.latencies_ms).to_json(),
        }


@dataclass(slots=True)
class StoreMeasurement:
    """What came out. `store_changed`: the store's graph was written to meanwhile, so that its answers may differ."""

    options: StoreMeasureOptions
    url: str
    server: str
    version: int
    pairs: int
    store: Side = field(default_factory=Side)
    mesh: Side = field(default_factory=Side)
    store_changed: bool = False
    hot: HotAnswers | None = None
    seconds: float = 0.0

    @property
    def asked(self) -> int:
        """Pairs that both sides were asked for."""
        return len(self.store.latencies_ms)

    @property
    def disagreements(self) -> int:
        """Pairs whose costs the two sides do not agree on."""
        store = self.store.costs()
        return sum(pair in store and not same_cost(cost, store[pair]) for pair, cost in self.mesh.costs().items())

    @property
    def is_good(self) -> bool:
        """Every question was answered, and every answer is right. A store's time-outs are a finding, not a failure."""
        mismatches = (
            len(self.store.mismatches)
            + len(self.mesh.mismatches)
            + (self.hot.wrong + self.hot.failed if self.hot else 0)
        )
        return not (mismatches or self.disagreements or self.store.errors or self.mesh.failures)

    def ratio(self) -> dict[str, float | None]:
        """How many times as long as the mesh the store takes, by percentile."""
        store, mesh = (
            Percentiles.of(self.store.latencies_ms).to_json(),
            Percentiles.of(self.mesh.latencies_ms).to_json(),
        )
        return {name: round(share_of(store[name], mesh[name]), 3) or None for name in ("p50", "p95", "p99")}

    def to_json(self) -> dict[str, Any]:
        """As docs/cli-json.md has it."""
        return {
            "graph": self.options.graph,
            "version": self.version,
            "store": self.url,
            "server": self.server,
            "queries": self.pairs,
            "asked": self.asked,
            "concurrency": self.options.concurrency,
            "seed": self.options.seed if self.options.pairs is None else None,
            "store_timeout_s": self.options.store_timeout_s,
            "sides": {"store": self.store.to_json(), "mesh": self.mesh.to_json()},
            "ratio": self.ratio(),
            "disagreements": self.disagreements,
            "store_changed": self.store_changed,
            "hot": None if self.hot is None else self.hot.to_json(),
            "seconds": round(self.seconds, 3),
        }


def same_cost(cost: float, other: float) -> bool:
    """Whether two costs are the same, but for the last digits of their sums."""
    return cost == other or math.isclose(cost, other, rel_tol=RELATIVE_TOLERANCE)


def share_of(store_ms: float, mesh_ms: float) -> float:
    """`store_ms / mesh_ms`, 0 where nothing was measured."""
    return store_ms / mesh_ms if mesh_ms > 0 else 0.0


async def measure_store(
    client: AsyncClient, store: GraphStore, options: StoreMeasureOptions, tell: Tell
) -> StoreMeasurement:
    """Ask both sides, and compare every answer with plain bidirectional Dijkstra on the graph that the mesh serves.

    Raises what store or mesh answer when they cannot be measured at all.
    """
    began_s = time.monotonic()
    sample = await client.sample_nodes(
        min(2 * options.queries, SAMPLE_NODES_MAX), seed=options.seed, graph=options.graph, timeout_s=options.timeout_s
    )
    pairs = list(options.pairs) if options.pairs is not None else random_pairs(
        sample.ids, options.queries, options.seed
    )  # fmt: skip
    if not pairs:
        raise InvalidRequest("there are no pairs to ask for")
    health, revision = await store.health(), await store.revision()
    measurement = StoreMeasurement(options, store.url, health.server, sample.version, len(pairs))
    asking = _Asking(client, store, options, measurement)
    tell("warm up", 0.0)
    await asking.warm_up(random_pairs(sample.ids, WARM_UP, options.seed + 1))
    await asking.run(pairs, tell)
    if options.hot_threshold:
        tell("hot answers", 0.0)
        asked = [pair for pair in measurement.store.costs() if pair in set(pairs)]
        measurement.hot = await measure_hot(asking.ask_store_bounded, asking.plan, store, asked, options.hot_threshold)
    measurement.store_changed = await store.revision() != revision
    await _check(client, measurement, tell)
    measurement.seconds = time.monotonic() - began_s
    tell("done", 1.0)
    return measurement


class _Asking:
    """Asks both sides for pairs, and keeps what they said."""

    def __init__(
        self, client: AsyncClient, store: GraphStore, options: StoreMeasureOptions, measurement: StoreMeasurement
    ) -> None:
        self._client = client
        self._store = store
        self._options = options
        self._measurement = measurement
        self._store_s = 0.0

    async def warm_up(self, pairs: Sequence[Pair]) -> None:
        """Ask both a few times; what they say is not counted. A store that is slow already is not asked again."""
        for number, pair in enumerate(pairs):
            bound_s = (
                max(self._options.store_timeout_s, WARM_UP_S_MAX) if number == 0 else self._options.store_timeout_s
            )
            try:
                await self._plan_past_cache(pair)
                await self._ask_store(pair, bound_s)
            except NoPath:
                continue
            except DeadlineExceeded:
                return

    async def run(self, pairs: Sequence[Pair], tell: Tell) -> None:
        """Ask for pairs, `concurrency` at a time, each of both sides: a stretch of the store, then of the mesh."""
        length = max(1, min(TURN_PAIRS, len(pairs) // self._options.concurrency))
        pending = iter([pairs[first : first + length] for first in range(0, len(pairs), length)])

        async def caller() -> None:
            for turn in pending:
                asked = 0
                for pair in turn:
                    if self._store_s >= self._options.store_total_s:
                        break
                    await self._of_store(pair)
                    asked += 1
                    tell("measure", self._measurement.asked / len(pairs))
                for pair in turn[:asked]:
                    await self._of_mesh(pair)

        async with asyncio.TaskGroup() as group:
            for _ in range(self._options.concurrency):
                group.create_task(caller())

    async def plan(self, pair: Pair) -> float:
        """Ask the mesh, from its caches too if it has it; the cost, infinite without a path."""
        try:
            return (await self._client.plan(*pair, graph=self._options.graph, timeout_s=self._options.timeout_s)).cost
        except NoPath:
            return math.inf

    async def ask_store_bounded(self, pair: Pair) -> float:
        """Ask the store, for as long as one question may take; the cost, infinite without a path."""
        try:
            return (await self._ask_store(pair, self._options.store_timeout_s)).cost
        except NoPath:
            return math.inf

    async def _of_store(self, pair: Pair) -> None:
        began_s = time.perf_counter()

        async def ask() -> Claim:
            path = await self._ask_store(pair, self._options.store_timeout_s)
            return Claim(*pair, path.cost, list(zip(path.nodes, path.nodes[1:], path.step_costs, strict=False)))

        await _keep(self._measurement.store, pair, ask, None)
        self._store_s += time.perf_counter() - began_s

    async def _of_mesh(self, pair: Pair) -> None:
        side, options = self._measurement.mesh, self._options

        async def ask() -> Claim:
            plan: Plan = await self._client.plan(
                *pair, graph=options.graph, bypass_cache=options.bypass_cache, timeout_s=options.timeout_s
            )
            side.versions.append(plan.version)
            return Claim(*pair, plan.cost, [(step.source, step.target, step.cost) for step in plan.steps])

        await _keep(side, pair, ask, self._measurement.version)

    async def _plan_past_cache(self, pair: Pair) -> None:
        try:
            await self._client.plan(
                *pair, graph=self._options.graph, bypass_cache=True, timeout_s=self._options.timeout_s
            )
        except NoPath:
            return

    async def _ask_store(self, pair: Pair, bound_s: float) -> StoredPath:
        try:
            async with asyncio.timeout(bound_s):
                return await self._store.shortest_path(*pair)
        except TimeoutError:
            raise DeadlineExceeded(f"{self._store.url} gave no path within {bound_s:g} s") from None


async def _keep(side: Side, pair: Pair, ask: Callable[[], Awaitable[Claim]], version: int | None) -> None:
    """Ask, and keep answer, failure and time; `version` is where a pair without a path is looked up."""
    began_s = time.perf_counter()
    try:
        claim = await ask()
    except NoPath as error:
        claim = Claim(*pair, math.inf, ())
        if version is not None:
            side.versions.append(int(error.metadata.get("version") or version))
    except PlanmeshError as error:
        side.latencies_ms.append((time.perf_counter() - began_s) * 1e3)
        side.failures.append((pair, error))
        return
    side.latencies_ms.append((time.perf_counter() - began_s) * 1e3)
    side.claims.append(claim)


async def _check(client: AsyncClient, measurement: StoreMeasurement, tell: Tell) -> None:
    """Compare every answer with the reference: the mesh's on their versions, the store's on the one that was served."""
    store, mesh = measurement.store, measurement.mesh
    threads = os.cpu_count() or 1
    for version in sorted({measurement.version, *mesh.versions}):
        tell(f"export version {version}", 0.0)
        graph = await export_reference(client, measurement.options.graph, version)
        claims = [claim for claim, on in zip(mesh.claims, mesh.versions, strict=True) if on == version]
        tell(f"check {len(claims):,} answers", 0.0)
        mesh.mismatches += await asyncio.to_thread(graph.check, claims, threads)
        if version == measurement.version:
            store.mismatches += await asyncio.to_thread(graph.check, store.claims, threads)
            if measurement.hot is not None:
                measurement.hot.compare(store.costs())
