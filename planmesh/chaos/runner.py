"""Runs scenarios in sequence. Each has four stages: steady state, fault, healing, judgement."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from planmesh.chaos.graph import ChaosGraph, Variant
from planmesh.chaos.judge import Timeline, Verdict, judge, steady_for_s
from planmesh.chaos.mesh import ChaosMesh, chaos_mesh
from planmesh.chaos.proxies import Proxies
from planmesh.chaos.scenario import Fault, Scenario, Stage
from planmesh.chaos.updates import Updates
from planmesh.client import Client, LoadReport, Strategy
from planmesh.defaults import GRAPH_DEFAULT
from planmesh.errors import PlanmeshError, ServiceUnavailable
from planmesh.measure.check import Claim, Mismatch, ReferenceGraph
from planmesh.measure.traffic import Seen, Traffic

WARM_S: Final = 1.5
"""Time for connecting and for mapping files, before the steady state is observed."""

STEADY_S: Final = 3.0
"""How long the steady state is observed before the fault, and must hold after it."""

POLL_S: Final = 0.25

PATIENCE_S: Final = 10.0
"""Wait beyond the bound of recovery, so that a failed scenario reports by how much it exceeded the bound."""

SETTLE_S_MAX: Final = 20.0
"""From the end of the load until no work is left and every process is up."""

LOAD_S_MAX: Final = 120.0

GRAPH: Final = GRAPH_DEFAULT

Announce = Callable[[str, str], None]
"""Receives a scenario's name, or "", and its current activity."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options that apply to all scenarios of a run."""

    nodes: int = 5_000
    callers: int = 8
    seed: int = 1
    workers: int = 4
    shards: int = 2
    timeout_s: float = 10.0
    warm_s: float = WARM_S
    steady_s: float = STEADY_S


async def run(scenarios: Sequence[Scenario], options: RunOptions, announce: Announce) -> AsyncIterator[Verdict]:
    """Run the scenarios, those of each kind of mesh together and proxied ones last.

    Start a new mesh whenever a scenario has left the last one broken.

    Raises the errors of `planmesh up` when a mesh cannot be started.
    """
    graph = ChaosGraph(options.nodes, options.seed)
    waiting = sorted(scenarios, key=_kind_of_mesh)
    while waiting:
        kind = _kind_of_mesh(waiting[0])
        fault = waiting[0].fault()
        if fault.unfit():
            yield Verdict(waiting.pop(0).name, skipped=fault.unfit(), seed=options.seed)
            continue
        announce("", "starting a mesh")
        async with _own_mesh(options, graph, *kind, announce) as ground:
            while waiting and _kind_of_mesh(waiting[0]) == kind and ground.intact:
                yield await ground.run(waiting.pop(0), announce)


def _kind_of_mesh(scenario: Scenario) -> tuple[bool, int]:
    """Return whether the scenario's mesh has proxies, and how many Redis servers."""
    return scenario.proxied, scenario.redis_servers


@dataclass(slots=True)
class Ground:
    """A mesh that serves a graph, on which scenarios run."""

    mesh: ChaosMesh
    graph: ChaosGraph
    references: dict[int, ReferenceGraph]
    options: RunOptions
    folder: Path
    intact: bool = True
    variants: int = 0
    unserved: list[ReferenceGraph] = field(default_factory=list)
    """References of refused loads. The mesh may still finish and serve a load whose process was killed."""

    async def run(self, scenario: Scenario, announce: Announce) -> Verdict:
        """Run one scenario. A failed scenario, or one that breaks the mesh, gives a verdict and not an exception."""
        fault = scenario.fault()
        if fault.unfit():
            return Verdict(scenario.name, skipped=fault.unfit(), seed=self.options.seed)
        folder = Path(tempfile.mkdtemp(prefix=f"{scenario.name}-", dir=self.folder))
        draw = random.Random(f"{self.options.seed} {scenario.name}")  # noqa: S311 - not for secrets
        stage = Stage(self.mesh, draw, folder, self.new_variant, self.load)
        try:
            verdict = await self._run(scenario, fault, stage, announce)
        except PlanmeshError as error:
            self.intact = False
            verdict = Verdict(scenario.name, [*stage.problems, f"{type(error).__name__}: {error.message}"])
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        verdict.notes, verdict.seed = stage.notes, self.options.seed
        return verdict

    async def _run(self, scenario: Scenario, fault: Fault, stage: Stage, announce: Announce) -> Verdict:
        announce(scenario.name, "preparing")
        try:
            await fault.prepare(stage)
            traffic = Traffic(
                self.mesh.address, self.graph.ids, self.options.callers, self.options.timeout_s, self.options.seed
            )
            with traffic:
                async with self._updates(scenario, stage):
                    timeline = await self._under_load(scenario, fault, stage, traffic, announce)
        finally:
            await fault.restore(stage)
        announce(scenario.name, "waiting for the mesh to settle")
        left = await self.mesh.settle(SETTLE_S_MAX)
        if left:
            self.intact = False
            stage.problems.append(f"{SETTLE_S_MAX:g} s after the load had ended: {left}")
        announce(scenario.name, f"checking {len(traffic.seen.plans):,} plans")
        mismatches = await asyncio.to_thread(self._check, traffic.seen)
        return judge(scenario, traffic.seen, mismatches, timeline, stage.problems)

    async def _under_load(
        self, scenario: Scenario, fault: Fault, stage: Stage, traffic: Traffic, announce: Announce
    ) -> Timeline:
        announce(scenario.name, "observing the steady state")
        await asyncio.sleep(self.options.warm_s)
        steady_s = time.monotonic()
        await asyncio.sleep(self.options.steady_s)
        announce(scenario.name, scenario.about)
        injected_s = time.monotonic()
        before, failed_before = traffic.seen.between(steady_s, injected_s)
        plans_per_s = (before - failed_before) / (injected_s - steady_s)
        await fault.inject(stage)
        await asyncio.sleep(scenario.lasts_s - (time.monotonic() - injected_s))
        await fault.heal(stage)
        healed_s = time.monotonic()
        announce(scenario.name, "waiting until answers are steady")
        enough_s = injected_s + scenario.bounds.recovery_s_max + self.options.steady_s
        patience_s = max(healed_s, enough_s) + PATIENCE_S
        while True:
            timeline = Timeline(steady_s, injected_s, healed_s, time.monotonic())
            long_s = steady_for_s(traffic.seen, timeline, plans_per_s, scenario.steady.failed_share_max)
            if (long_s >= self.options.steady_s and timeline.ended_s >= enough_s) or timeline.ended_s > patience_s:
                return timeline
            await asyncio.sleep(POLL_S)

    @asynccontextmanager
    async def _updates(self, scenario: Scenario, stage: Stage) -> AsyncIterator[None]:
        """Update the graph meanwhile, if the scenario asks for that. Every acknowledged version is checked."""
        if not scenario.updated:
            yield
            return
        variant = self.new_variant()
        updates = Updates(
            self.mesh.address,
            GRAPH,
            variant.edges(),
            self.references[await self.load(variant)],
            self.options.seed,
            self.references.__setitem__,
        )
        updating = asyncio.create_task(updates.run())
        try:
            yield
        finally:
            updates.stop()
            await asyncio.wait([updating])
        try:
            updating.result()
            wrong = await updates.check()
        except PlanmeshError as error:
            wrong = f"an update was not acknowledged, or not served afterwards: {error.message}"
        stage.expect(not wrong, wrong)
        stage.notes.append(f"{updates.acknowledged} batches acknowledged, {updates.repeated} attempts failed")

    def new_variant(self) -> Variant:
        """Return the graph with costs that were never loaded."""
        self.variants += 1
        return self.graph.variant(self.variants)

    async def load(self, variant: Variant) -> int:
        """Load a variant, and return its version. Raises the error with which the mesh refuses it."""
        reference = variant.reference()
        try:
            report = await asyncio.to_thread(self._load, variant)
        except PlanmeshError:
            self.unserved.append(reference)
            raise
        self.references[report.version] = reference
        return report.version

    def _check(self, seen: Seen) -> list[Mismatch]:
        """Return every wrong answer.

        A version that no load returned is assigned to the first refused load whose graph fits all plans of that
        version.
        """
        claims: dict[int, list[Claim]] = {}
        for plan in seen.plans:
            if plan.version not in self.references:
                claims.setdefault(plan.version, []).append(plan.claim)
        threads = os.cpu_count() or 1
        for version, of_version in claims.items():
            fitting = [reference for reference in self.unserved if not reference.check(of_version, threads)]
            if fitting:
                self.references[version] = fitting[0]
        return seen.check(self.references, threads)

    def _load(self, variant: Variant) -> LoadReport:
        with Client(self.mesh.address) as client:
            return client.load(variant.batches(), graph=GRAPH, strategy=Strategy.DOMAIN, timeout_s=LOAD_S_MAX)


@asynccontextmanager
async def _own_mesh(
    options: RunOptions,
    graph: ChaosGraph,
    proxied: bool,
    redis_servers: int,
    announce: Announce,
) -> AsyncIterator[Ground]:
    """Run a mesh that serves the graph, in a temporary folder that is deleted at the end."""
    async with AsyncExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="planmesh-chaos-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        proxies = stack.enter_context(Proxies()) if proxied else None
        mesh = await stack.enter_async_context(
            chaos_mesh(
                folder / "data",
                workers=options.workers,
                shards=options.shards,
                redis_servers=redis_servers,
                proxies=proxies,
                announce=lambda text: announce("", text),
            )
        )
        ground = Ground(mesh, graph, {}, options, folder)
        announce("", f"loading {options.nodes:,} nodes")
        await ground.load(graph.variant(0))
        left = await mesh.settle(SETTLE_S_MAX)
        if left:
            raise ServiceUnavailable(f"the mesh is unhealthy before any fault: {left}; its logs: {mesh.folder.logs}")
        yield ground
