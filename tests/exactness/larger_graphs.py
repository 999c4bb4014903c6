"""Graphs of hundreds of nodes with the shapes of services, grids, lattices and roads, and their partitions."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Final

from tests.exactness.graphs import Edge

Larger = tuple[int, list[Edge], list[int]]
"""The number of nodes, the edges, and the partition of each node."""


def services(random: Random, count: int) -> Larger:
    """Domains of services around one or two hubs each, and stray edges: across domains, parallel ones and loops."""
    domain_count = random.randint(3, 8)
    partition_of = [random.randrange(domain_count) for _ in range(count)]
    members = [[node for node in range(count) if partition_of[node] == domain] for domain in range(domain_count)]
    edges: list[Edge] = []
    for some in filter(None, members):
        hubs = random.sample(some, min(len(some), random.randint(1, 2)))
        for node in some:
            edges += [(node, hub, float(random.randint(1, 9))) for hub in hubs if random.random() < 0.7]
            edges += [(hub, node, float(random.randint(1, 9))) for hub in hubs if random.random() < 0.5]
            edges.append((node, random.choice(some), float(random.randint(1, 99))))
    stray = random.choice([domain_count, count // 4])
    edges += [(random.randrange(count), random.randrange(count), random.choice([0.0, 1.0, 50.0])) for _ in range(stray)]
    edges += [(tail, head, cost + 1) for tail, head, cost in random.sample(edges, min(len(edges), 5))]
    return count, edges, partition_of


def grid(random: Random, count: int) -> Larger:
    """A grid with streets both ways, of random costs, in square blocks."""
    side = math.isqrt(count)
    return side * side, _streets(random, side, lambda: float(random.randint(1, 20)), one_way=0.0), _blocks(side)


def lattice(random: Random, count: int) -> Larger:
    """A grid of equal costs, with many paths that cost the same."""
    side = math.isqrt(count)
    return side * side, _streets(random, side, lambda: 1.0, one_way=0.0), _blocks(side)


def roads(random: Random, count: int) -> Larger:
    """A grid from which streets are missing, with one-way streets, long chains and a few motorways."""
    side = math.isqrt(count)
    streets = _streets(random, side, lambda: random.randint(10, 99) / 10, one_way=0.1)
    edges = [street for street in streets if random.random() < 0.85]
    row = random.randrange(side)
    edges += [(side * row + column, side * row + column + 1, 0.3) for column in range(side - 1)]
    return side * side, edges, _blocks(side)


LARGER_FAMILIES: Final[tuple[Callable[[Random, int], Larger], ...]] = (services, services, grid, lattice, roads)


def _streets(random: Random, side: int, cost: Callable[[], float], *, one_way: float) -> list[Edge]:
    edges: list[Edge] = []
    for node in range(side * side):
        for head in [node + 1] * (node % side < side - 1) + [node + side] * (node < side * (side - 1)):
            edges.append((node, head, cost()))
            if random.random() >= one_way:
                edges.append((head, node, cost()))
    return edges


def _blocks(side: int) -> list[int]:
    across = max(1, side // 4)
    return [(node // side * across // side) * across + node % side * across // side for node in range(side * side)]
