"""A hand-written Dijkstra search over adjacency lists in a real redis-server."""

from __future__ import annotations

import heapq
import subprocess
import time
from pathlib import Path
from typing import Final

import redis

from bench.graphs import BenchGraph
from planmesh.local.ports import free_port
from planmesh.local.redis_server import prepare_private_redis

BATCH_NODES: Final = 2_000
READY_S_MAX: Final = 30.0


class RedisByHand:
    """A hash for each node: neighbour to cost. One round trip for each settled node."""

    def prepare(self, graph: BenchGraph, folder: Path) -> None:
        """Start the server."""
        self.graph = graph.graph
        (folder / "redis").mkdir()
        prepared = prepare_private_redis(folder / "redis", free_port())
        self.server = subprocess.Popen(prepared.command, stdout=subprocess.DEVNULL)
        self.client = redis.Redis.from_url(prepared.url, decode_responses=True)
        stop_s = time.monotonic() + READY_S_MAX
        while True:
            try:
                self.client.ping()
            except redis.ConnectionError:
                if time.monotonic() > stop_s:
                    raise
                time.sleep(0.05)
            else:
                return

    def load(self) -> None:
        """Write the hashes in pipelines."""
        first, head, weight = self.graph.first_out.tolist(), self.graph.head.tolist(), self.graph.weight.tolist()
        for begin in range(0, self.graph.node_count, BATCH_NODES):
            pipeline = self.client.pipeline(transaction=False)
            for node in range(begin, min(begin + BATCH_NODES, self.graph.node_count)):
                edges = range(first[node], first[node + 1])
                if edges:
                    pipeline.hset(f"adj:{node}", mapping={str(head[edge]): weight[edge] for edge in edges})
            pipeline.execute()

    def query(self, start: int, goal: int) -> float:
        """Return the cost only."""
        distance = {start: 0.0}
        queue = [(0.0, start)]
        done: set[int] = set()
        while queue:
            reached, node = heapq.heappop(queue)
            if node == goal:
                return reached
            if node in done:
                continue
            done.add(node)
            for neighbor, cost in self.client.hgetall(f"adj:{node}").items():
                other, total = int(neighbor), reached + float(cost)
                if total < distance.get(other, float("inf")):
                    distance[other] = total
                    heapq.heappush(queue, (total, other))
        return float("inf")

    def close(self) -> None:
        """Stop the server."""
        self.client.close()
        self.server.terminate()
        self.server.wait()
