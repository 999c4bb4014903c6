"""Measures the hot answers that a hybrid store's front gives, and the mesh's answers for the same pairs."""

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
"""Pairs that the measurement makes hot."""

ANSWERS_PER_PAIR: Final = 10
"""Hot answers measured for each pair."""

ASKED_MAX: Final = 100
"""Largest threshold of requests for which hot answers are measured."""

HOT_S_MAX: Final = 60.0
"""Longest time for the whole measurement, which then covers only the pairs made hot so far."""

Ask = Callable[[Pair], Awaitable[float]]
"""Returns the cost of a pair, infinite if there is no path."""


@dataclass(slots=True)
class HotAnswers:
    """The answers of the front, and the mesh's latencies for the same pairs, which the mesh caches too."""

    pairs: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    mesh_latencies_ms: list[float] = field(default_factory=list)
    costs: list[tuple[Pair, float]] = field(default_factory=list)
    wrong: int = 0
    failed: int = 0
    """Pairs whose measurement ended with a time-out or another error."""

    def compare(self, costs: dict[Pair, float]) -> None:
        """Count the answers whose cost differs from `costs`, the pairs' checked costs from before they were hot."""
        self.wrong = sum(
            not (cost == costs[pair] or math.isclose(cost, costs[pair], rel_tol=RELATIVE_TOLERANCE))
            for pair, cost in self.costs
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of docs/reference/cli-json.md."""
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
    """Make pairs hot by requesting them, then measure the front's answers.

    Nothing else may use this store object meanwhile, because the store's hit counter identifies the front's answers.
    """
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
    """Query store and mesh in turn for a hot pair. Answers that did not come from the front are not counted."""
    await ask_mesh(pair)  # so that the mesh has the answer in its cache too
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
    """Request a pair, unmeasured, until the front answers. Return whether it did."""
    for _ in range(threshold + 1):
        hits = store.stats.hits
        await ask_store(pair)
        if store.stats.hits > hits:
            return True
    return False
