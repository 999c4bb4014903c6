"""A cluster that serves a graph, and the judge of what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from planmesh.client import AsyncClient
from planmesh.measure.check import ReferenceGraph
from planmesh.measure.measurement import export_reference
from planmesh.measure.traffic import Seen
from tests.compose.cluster import ROOT, Cluster, cluster

BACKBONE: Final = ROOT / "examples" / "backbone" / "backbone.json.gz"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A cluster that serves the backbone, and what it serves, to check plans with."""

    cluster: Cluster
    ids: tuple[str, ...]
    reference: ReferenceGraph

    def judge(self, seen: Seen) -> None:
        """Every plan is a cheapest path, and where none was found there is none."""
        assert seen.plans, seen.reasons()
        versions = {plan.version for plan in seen.plans}
        assert seen.check(dict.fromkeys(versions, self.reference), threads=2) == []


@contextmanager
def loaded_cluster() -> Iterator[Loaded]:
    """Start a cluster and load the world's backbone into it."""
    with cluster() as running:
        running.planmesh("load", str(BACKBONE), "--strategy", "region", "--cost-column", "latency_ms")
        ids, reference = asyncio.run(_read(running.address))
        yield Loaded(running, ids, reference)


async def _read(address: str) -> tuple[tuple[str, ...], ReferenceGraph]:
    async with AsyncClient(address) as client:
        sample = await client.sample_nodes(10_000, seed=1)
        return sample.ids, await export_reference(client, "default", sample.version)
