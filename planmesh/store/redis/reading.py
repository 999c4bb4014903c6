"""Reads a graph from Redis, several buckets of nodes in each request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np

from planmesh.errors import Conflict, InvalidGraph
from planmesh.graph.model import Float64Array
from planmesh.graph.rows import ROWS_PER_BATCH, EdgeRows, NodeRows
from planmesh.store.protocol import GraphCounts
from planmesh.store.redis.rows import labels_of
from planmesh.store.redis.scripts import RedisScripts, bucket_ranges
from planmesh.store.row_checks import check_edges, slices


class RedisReading:
    """A reading of one generation; see GraphReading."""

    def __init__(
        self,
        scripts: RedisScripts,
        shown: str,
        ask_revision: Callable[[], Awaitable[str]],
        revision: str,
        counts: GraphCounts,
        generation: str,
        rows_per_request: int,
    ) -> None:
        self._scripts = scripts
        self._shown = shown
        self._ask_revision = ask_revision
        self._revision = revision
        self._counts = counts
        self._generation = generation
        self._rows_per_request = rows_per_request

    @property
    def revision(self) -> str:
        """See GraphReading."""
        return self._revision

    async def nodes(self) -> AsyncIterator[NodeRows]:
        """Stream the nodes in arbitrary order; see GraphReading."""
        async for answer in self._requests("nodes", self._counts.nodes):
            ids: list[str] = answer[1::2]
            labels = [labels_of(text) for text in answer[2::2]]
            for batch in slices(len(ids), ROWS_PER_BATCH):
                yield NodeRows(
                    ids[batch], [domain for domain, _ in labels[batch]], [region for _, region in labels[batch]]
                )

    async def edges(self) -> AsyncIterator[EdgeRows]:
        """Stream the edges, grouped by source; see GraphReading."""
        first = 1
        async for answer in self._requests("edges", self._counts.nodes + self._counts.edges):
            sources: list[str] = []
            targets: list[str] = []
            costs: list[str] = []
            place = 1
            while place < len(answer):
                count = int(answer[place + 1])
                end = place + 2 + 2 * count
                sources += [answer[place]] * count
                targets += answer[place + 2 : end : 2]
                costs += answer[place + 3 : end : 2]
                place = end
            numbers = self._numbers(sources, targets, costs)
            for batch in slices(len(sources), ROWS_PER_BATCH):
                yield check_edges(EdgeRows(sources[batch], targets[batch], numbers[batch]), self._shown, first)
                first += batch.stop - batch.start

    async def unchanged(self) -> bool:
        """Return whether the revision is still that of the beginning; see GraphReading."""
        return await self._ask_revision() == self._revision

    async def _requests(self, what: str, rows: int) -> AsyncIterator[list[Any]]:
        if not self._generation:
            return
        for first, last in bucket_ranges(rows, self._rows_per_request):
            answer = await self._scripts.run("read", self._generation, what, str(first), str(last))
            if answer[0] == "gone":
                raise Conflict(f"{self._shown}: the graph was replaced while it was read; read it again")
            yield answer

    def _numbers(self, sources: list[str], targets: list[str], costs: list[str]) -> Float64Array:
        try:
            return np.array(costs, np.float64)
        except ValueError:
            for source, target, cost in zip(sources, targets, costs, strict=True):
                try:
                    float(cost)
                except ValueError:
                    raise InvalidGraph(
                        f"expected a number, got {cost[:60]!r}",
                        source=self._shown,
                        record=f"edge from {source!r} to {target!r}",
                        field="cost",
                    ) from None
            raise
