"""Hot answers of a hybrid store: those that its front gives, beside the mesh asked for the same pairs."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from planmesh.errors import PlanmeshError
from planmesh.measure.check import RELATIVE_TOLERANCE
from planmesh.measure.pair_lines import Pair
from planmesh.measure.statistics import Percentiles
from planmesh.store.hybrid import HybridStore
from planmesh.store.protocol import GraphStore

PAIRS_MAX: Final = 50
"""Pairs that are made hot."""

ANSWERS_PER_PAIR: Final = 10
"""Hot answers measured of each."""

ASKED_MAX: Final = 100
"""Questions that make a pair hot; a store that wants more is not measured for hot answers."""

HOT_S_MAX: Final = 60.0
"""Longest that all of it takes; the pairs that were made hot until then are what was measured."""

Ask = Callable[[Pair], Awaitable[float]]
"""Gives the cost of a pair, infinite without a path."""


@dataclass(slots=True)
class HotAnswers:
    """What the front gave, and what the mesh took for the same pairs, whose answers it keeps too."""

    pairs: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    mesh_latencies_ms: list[float] = field(default_factory=list)
    costs: list[tuple[Pair, float]] = field(default_factory=list)
    wrong: int = 0
    failed: int = 0
    """Questions that failed: time-outs and errors."""

    def compare(self, costs: dict[Pair, float]) -> None:
        """Count the answers that differ from the cost of their pair when it was not hot, which has been checked."""
        self.wrong = sum(
            not (cost == costs[pair] or math.isclose(cost, costs[pair], rel_tol=RELATIVE_TOLERANCE))
            for pair, cost in self.costs
        )

    def to_json(self) -> dict[str, Any]:
        """As docs/cli-json.md has it."""
        return {
            "pairs": self.pairs,
            "answers": len(self.latencies_ms),
            "failed": self.failed,
            "mismatches": self.wrong,
            "latency_ms": Percentiles.of(self.latencies_ms).to_json(),
            "mesh_latency_ms": Percentiles.of(self.mesh_latencies_ms).to_json(),
        }


async def measure_hot(
    ask_store: Ask, ask_mesh: Ask, store: GraphStore, pairs: Sequence[Pair], threshold: int
) -> HotAnswers:
    """Make pairs hot by asking for them, then measure what the front answers; nobody else may use this store object."""
    assert isinstance(store, HybridStore)
    found = HotAnswers()
    if threshold > ASKED_MAX:
        return found
    began_s = time.monotonic()
    for pair in pairs[:PAIRS_MAX]:
        if time.monotonic() - began_s > HOT_S_MAX:
            break
        try:
            if await _heat(ask_store, store, pair, threshold):
                found.pairs += 1
                await _measure_pair(ask_store, ask_mesh, store, pair, found)
        except PlanmeshError:
            found.failed += 1
    return found


async def _measure_pair(ask_store: Ask, ask_mesh: Ask, store: HybridStore, pair: Pair, found: HotAnswers) -> None:
    """Ask for a hot pair, store and mesh in turn; an answer that did not come from the front is not counted."""
    await ask_mesh(pair)  # from now on the mesh has it in its cache too
    for _ in range(ANSWERS_PER_PAIR):
        hits = store.stats.hits
        began_s = time.perf_counter()
        cost = await ask_store(pair)
        took_ms = (time.perf_counter() - began_s) * 1e3
        if store.stats.hits == hits:
            continue
        found.latencies_ms.append(took_ms)
        found.costs.append((pair, cost))
        began_s = time.perf_counter()
        await ask_mesh(pair)
        found.mesh_latencies_ms.append((time.perf_counter() - began_s) * 1e3)


async def _heat(ask_store: Ask, store: HybridStore, pair: Pair, threshold: int) -> bool:
    """Ask until the front answers; whether it did. What the questions before took is not counted."""
    for _ in range(threshold + 1):
        hits = store.stats.hits
        await ask_store(pair)
        if store.stats.hits > hits:
            return True
    return False
