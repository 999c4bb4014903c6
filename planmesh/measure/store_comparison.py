"""Compares a graph's store with the mesh: both get the same pairs, in alternating short turns."""

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
from planmesh.measure.measurement import Progress, export_reference
from planmesh.measure.pair_lines import Pair
from planmesh.measure.pairs import random_pairs
from planmesh.measure.statistics import Percentiles
from planmesh.rpc.status import reason_of
from planmesh.store.protocol import GraphStore, StoredPath

SAMPLE_NODES_MAX: Final = 20_000
"""Largest number of ids in one `sample_nodes` call."""

WARM_UP: Final = 3
"""Requests to both sides before the measurement, so that connections exist and the store has prepared its search."""

TURN_PAIRS: Final = 10
"""Requests to one side before its turn ends. Alternating each request would fill the caches with the other's data."""

WARM_UP_S_MAX: Final = 120.0
"""Longest time for the first request to a store. Neo4j copies the graph into memory for it."""


@dataclass(frozen=True, slots=True)
class StoreMeasureOptions:
    """What to measure. If `pairs` is None, random pairs are drawn from `seed`.

    `store_timeout_s` bounds one request to the store. After the requests together have taken `store_total_s`, neither
    side
    gets the remaining pairs.
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
    """Requests that make a pair of a hybrid store hot; 0 for other stores."""


@dataclass(slots=True)
class Side:
    """One side's answers. A time-out counts with the time until it."""

    latencies_ms: list[float] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    """One claim for each pair that was answered, or has no path."""
    versions: list[int] = field(default_factory=list)
    """The version of each claim; the mesh only."""
    failures: list[tuple[Pair, PlanmeshError]] = field(default_factory=list)
    mismatches: list[Mismatch] = field(default_factory=list)

    @property
    def no_path(self) -> int:
        """Number of pairs for which the side answered that no path exists."""
        return sum(math.isinf(claim.cost) for claim in self.claims)

    @property
    def time_outs(self) -> int:
        """Number of requests that timed out."""
        return sum(isinstance(error, DeadlineExceeded) for _, error in self.failures)

    @property
    def errors(self) -> dict[str, int]:
        """Number of other failures for each reason."""
        return dict(Counter(reason_of(error) for _, error in self.failures if not isinstance(error, DeadlineExceeded)))

    def costs(self) -> dict[Pair, float]:
        """Return the cost of every answered pair, infinite if it has no path."""
        return {(claim.start, claim.goal): claim.cost for claim in self.claims}

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of docs/reference/cli-json.md."""
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
    """The results. `store_changed`: the store's graph was written to meanwhile, so its answers may differ."""

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
        """Number of pairs that both sides got."""
        return len(self.store.latencies_ms)

    @property
    def disagreements(self) -> int:
        """Number of pairs for which the two sides answered different costs."""
        store = self.store.costs()
        return sum(pair in store and not same_cost(cost, store[pair]) for pair, cost in self.mesh.costs().items())

    @property
    def is_good(self) -> bool:
        """Whether every request was answered, and correctly. A store's time-outs are a finding, not a failure."""
        mismatches = (
            len(self.store.mismatches)
            + len(self.mesh.mismatches)
            + (self.hot.wrong + self.hot.failed if self.hot else 0)
        )
        return not (mismatches or self.disagreements or self.store.errors or self.mesh.failures)

    def ratio(self) -> dict[str, float | None]:
        """Return the store's latency divided by the mesh's, for each percentile."""
        store, mesh = (
            Percentiles.of(self.store.latencies_ms).to_json(),
            Percentiles.of(self.mesh.latencies_ms).to_json(),
        )
        return {name: round(share_of(store[name], mesh[name]), 3) or None for name in ("p50", "p95", "p99")}

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of docs/reference/cli-json.md."""
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
    """Whether two costs are equal, up to the last digits of their sums."""
    return cost == other or math.isclose(cost, other, rel_tol=RELATIVE_TOLERANCE)


def share_of(store_ms: float, mesh_ms: float) -> float:
    """Return `store_ms / mesh_ms`, 0 if nothing was measured."""
    return store_ms / mesh_ms if mesh_ms > 0 else 0.0


async def measure_store(
    client: AsyncClient, store: GraphStore, options: StoreMeasureOptions, progress: Progress
) -> StoreMeasurement:
    """Query both sides, and compare every answer with plain bidirectional Dijkstra on the graph that the mesh serves.

    Raises the error of store or mesh when measuring is impossible.
    """
    began_s = time.monotonic()
    sample = await client.sample_nodes(
        min(2 * options.queries, SAMPLE_NODES_MAX), seed=options.seed, graph=options.graph, timeout_s=options.timeout_s
    )
    pairs = list(options.pairs) if options.pairs is not None else random_pairs(
        sample.ids, options.queries, options.seed
    )  # fmt: skip
    if not pairs:
        raise InvalidRequest("expected at least one pair to measure, got none")
    health, revision = await store.health(), await store.revision()
    measurement = StoreMeasurement(options, store.url, health.server, sample.version, len(pairs))
    asking = _Asking(client, store, options, measurement)
    progress("warm up", 0.0)
    await asking.warm_up(random_pairs(sample.ids, WARM_UP, options.seed + 1))
    await asking.run(pairs, progress)
    if options.hot_threshold:
        progress("hot answers", 0.0)
        asked = [pair for pair in measurement.store.costs() if pair in set(pairs)]
        measurement.hot = await measure_hot(asking.ask_store_bounded, asking.plan, store, asked, options.hot_threshold)
    measurement.store_changed = await store.revision() != revision
    await _check(client, measurement, progress)
    measurement.seconds = time.monotonic() - began_s
    progress("done", 1.0)
    return measurement


class _Asking:
    """Queries both sides for pairs, and records their answers."""

    def __init__(
        self, client: AsyncClient, store: GraphStore, options: StoreMeasureOptions, measurement: StoreMeasurement
    ) -> None:
        self._client = client
        self._store = store
        self._options = options
        self._measurement = measurement
        self._store_s = 0.0

    async def warm_up(self, pairs: Sequence[Pair]) -> None:
        """Query both sides a few times without counting the answers. Stops after the store's first time-out."""
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

    async def run(self, pairs: Sequence[Pair], progress: Progress) -> None:
        """Query both sides for pairs, with `concurrency` callers. Each caller gives the store a turn, then the mesh."""
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
                    progress("measure", self._measurement.asked / len(pairs))
                for pair in turn[:asked]:
                    await self._of_mesh(pair)

        async with asyncio.TaskGroup() as group:
            for _ in range(self._options.concurrency):
                group.create_task(caller())

    async def plan(self, pair: Pair) -> float:
        """Query the mesh, whose caches may answer. Return the cost, infinite if there is no path."""
        try:
            return (await self._client.plan(*pair, graph=self._options.graph, timeout_s=self._options.timeout_s)).cost
        except NoPath:
            return math.inf

    async def ask_store_bounded(self, pair: Pair) -> float:
        """Query the store with the time bound of one request. Return the cost, infinite if there is no path."""
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
            raise DeadlineExceeded(f"{self._store.url} returned no path within {bound_s:g} s") from None


async def _keep(side: Side, pair: Pair, ask: Callable[[], Awaitable[Claim]], version: int | None) -> None:
    """Query one side; record answer or failure, and the time. `version` is the version of answers without a path."""
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


async def _check(client: AsyncClient, measurement: StoreMeasurement, progress: Progress) -> None:
    """Compare every answer with the reference: the mesh's on their own versions, the store's on the sampled version."""
    store, mesh = measurement.store, measurement.mesh
    threads = os.cpu_count() or 1
    for version in sorted({measurement.version, *mesh.versions}):
        progress(f"export version {version}", 0.0)
        graph = await export_reference(client, measurement.options.graph, version)
        claims = [claim for claim, on in zip(mesh.claims, mesh.versions, strict=True) if on == version]
        progress(f"check {len(claims):,} answers", 0.0)
        mesh.mismatches += await asyncio.to_thread(graph.check, claims, threads)
        if version == measurement.version:
            store.mismatches += await asyncio.to_thread(graph.check, store.claims, threads)
            if measurement.hot is not None:
                measurement.hot.compare(store.costs())
