"""Writes a new generation of a graph beside the one that it will replace."""

from __future__ import annotations

import time
from typing import Final

from planmesh.errors import Conflict, InvalidGraph, StoreRefused, StoreUnavailable
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.store.redis.rows import edge_arguments, node_arguments
from planmesh.store.redis.scripts import RedisScripts, bucket_ranges
from planmesh.store.row_checks import check_edges, check_nodes, slices
from planmesh.telemetry.logs import get_logger

NODES_PER_SWEEP: Final = 10_000
"""Nodes removed in one step of the server, together with their edges: some tens of milliseconds."""

WRITING_S_MAX: Final = 2_700.0
"""Longest duration, in seconds, of a replacement with a time to live. Its rows expire an hour after its head
(OUTLAST_MS of `lua/common.lua`); the remaining quarter of an hour is for the commit itself, with its retries."""

log = get_logger(__name__)


async def begin_replacement(scripts: RedisScripts, token: str, shown: str) -> None:
    """Take the lease, and remove remains of earlier generations. Raises Conflict when another replacement holds it."""
    answer = await scripts.run("begin", token, head=staged_head(scripts, token))
    if answer[0] == "taken":
        raise Conflict(f"{shown}: another replacement of this graph is under way")
    try:
        await _collect_garbage(scripts)
    except BaseException:
        await scripts.run("release", token)
        raise


async def end_replacement(scripts: RedisScripts, token: str) -> None:
    """Abandon a replacement: release the lease first, then remove the rows."""
    await scripts.run("release", token)
    await _collect_garbage(scripts)


async def _collect_garbage(scripts: RedisScripts) -> None:
    found = (await scripts.run("garbage"))[1:]
    for generation, nodes in zip(found[::2], found[1::2], strict=True):
        for first, last in bucket_ranges(int(nodes), NODES_PER_SWEEP):
            await scripts.run("sweep", str(generation), str(first), str(last))


def staged_head(scripts: RedisScripts, token: str) -> str:
    """Return the key of the head of a replacement that is not committed yet."""
    return f"{scripts.tag}:{token}:head"


class RedisReplacement:
    """Takes the rows of a generation that is not the graph yet; see GraphReplacement."""

    def __init__(
        self, scripts: RedisScripts, token: str, shown: str, batch_rows: int, ttl_ms: str, position: int
    ) -> None:
        self._scripts = scripts
        self._token = token
        self._head = staged_head(scripts, token)
        self._shown = shown
        self._batch_rows = batch_rows
        self._ttl_ms = ttl_ms
        self._position = position
        self._began_s = time.monotonic()
        self._nodes = 0
        self._edges = 0
        self.committed = False

    async def add_nodes(self, rows: NodeRows) -> None:
        """See GraphReplacement."""
        checked = check_nodes(rows, self._shown, self._nodes + 1)
        self._nodes += len(rows)
        for batch in slices(len(checked), self._batch_rows):
            await self._put("put_nodes", self._token, self._ttl_ms, *node_arguments(checked, batch))

    async def add_edges(self, rows: EdgeRows) -> None:
        """See GraphReplacement; unknown ends are detected here."""
        checked = check_edges(rows, self._shown, self._edges + 1)
        self._edges += len(rows)
        for batch in slices(len(checked), self._batch_rows):
            await self._put("put_edges", self._token, self._ttl_ms, "cheapest", *edge_arguments(checked, batch))

    async def commit(self) -> str:
        """Make the new generation the graph, in one step; then remove the old one. See GraphReplacement."""
        if self._ttl_ms != "0" and time.monotonic() - self._began_s > WRITING_S_MAX:
            raise StoreRefused(
                f"a replacement with a time to live may take at most {WRITING_S_MAX:g} s", store=self._shown
            )
        answer = await self._scripts.run("commit", self._token, self._ttl_ms, str(self._position))
        if answer[0] == "lost":
            raise self._scripts.lost()
        self.committed = True
        try:
            await _collect_garbage(self._scripts)
        except StoreUnavailable as error:
            # The new graph is in place. The next replacement removes the remains of the old one, which are recorded.
            log.warning("old graph not removed yet", store=self._shown, reason=error.message)
        return str(answer[1])

    async def _put(self, script: str, *arguments: str) -> None:
        answer = await self._scripts.run(script, *arguments, head=self._head)
        if answer[0] == "lost":
            raise self._scripts.lost()
        if answer[0] == "unknown":
            raise InvalidGraph(f"expected the id of a node; no node has {answer[1]!r}", source=self._shown)
