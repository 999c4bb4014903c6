"""Updates of the served graph beside plans: small batches of new costs, each repeated until it is acknowledged."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

from planmesh.client import AsyncClient, UpsertEdge
from planmesh.errors import PlanmeshError
from planmesh.graph.generate import COST_HIGHEST, COST_LOWEST
from planmesh.measure.check import ReferenceGraph

EVERY_S: Final = 0.25
"""Time between two batches."""
CHANGES: Final = 20
"""Edges of a batch whose costs change."""
UPDATE_S_MAX: Final = 5.0
"""Time limit of one attempt."""
PAUSE_S: Final = 0.2
"""Wait after a failed attempt."""
ACKNOWLEDGED_S_MAX: Final = 60.0
"""Time within which a batch has to be acknowledged, however often it is repeated."""

Edge = tuple[str, str]


class Updates:
    """Updates one graph, one batch after another. Each batch has a key, so it is applied once whatever happens.

    `applied` is called with the version of every acknowledged batch and the graph at that version.
    """

    def __init__(
        self,
        address: str,
        graph: str,
        edges: list[Edge],
        served: ReferenceGraph,
        seed: int,
        applied: Callable[[int, ReferenceGraph], None],
    ) -> None:
        self._address = address
        self._graph = graph
        self._edges = edges
        self._served = served
        self._random = random.Random(seed)  # noqa: S311 - not for secrets
        self._applied = applied
        self._is_over = asyncio.Event()
        self.acknowledged = 0
        """Batches so far."""
        self.repeated = 0
        """Attempts that failed."""
        self.version = 0
        """That of the last acknowledged batch."""

    async def run(self) -> None:
        """Update until `stop`. Raises the last error of a batch that was not acknowledged in ACKNOWLEDGED_S_MAX."""
        async with AsyncClient(self._address, graph=self._graph) as client:
            while not self._is_over.is_set():
                await self._update(client)
                try:
                    await asyncio.wait_for(self._is_over.wait(), EVERY_S)
                except TimeoutError:
                    continue

    def stop(self) -> None:
        """Begin no other batch."""
        self._is_over.set()

    async def check(self) -> str:
        """Ask for a plan that has the last acknowledged batch; return what is wrong, "" if nothing is."""
        start, goal = self._edges[0]
        async with AsyncClient(self._address, graph=self._graph) as client:
            plan = await client.plan(start, goal, min_version=self.version, timeout_s=UPDATE_S_MAX)
        return "" if plan.version == self.version else f"version {plan.version} is served, {self.version} is the last"

    async def _update(self, client: AsyncClient) -> None:
        drawn = self._random.sample(self._edges, CHANGES)
        costs = {edge: float(self._random.randint(COST_LOWEST, COST_HIGHEST)) for edge in drawn}
        changes = [UpsertEdge(*edge, cost=cost) for edge, cost in costs.items()]
        key = f"chaos-{self._random.getrandbits(64):x}"
        began_s = time.monotonic()
        while True:
            try:
                answer = await client.update_graph(changes, key=key, timeout_s=UPDATE_S_MAX)
            except PlanmeshError:
                if time.monotonic() - began_s > ACKNOWLEDGED_S_MAX:
                    raise
                self.repeated += 1
                await asyncio.sleep(PAUSE_S)
            else:
                break
        self._served = self._served.with_costs(costs)
        self._applied(answer.version, self._served)
        self.acknowledged += 1
        self.version = answer.version
