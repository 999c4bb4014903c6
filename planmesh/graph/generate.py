"""Synthetic graphs, as hard as real ones in the ways that matter to the search: skewed hubs, stray edges, fast lines.

Both come in blocks, each drawn from its own seed, so ten million nodes need the memory of one block; the same
arguments give the same graph on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.errors import InvalidRequest
from planmesh.graph.model import NODES_MAX, BoolArray, Float64Array, Int32Array, Int64Array, UInt8Array

DOMAIN_NODES: Final = 1_000
REGION_DOMAINS: Final = 32
EDGES_PER_NODE: Final = 4
GATEWAYS_PER_DOMAIN: Final = 10
CROSS_EDGES_PER_DOMAIN: Final = 20
WITHIN_REGION_SHARE: Final = 0.7
STRAY_DEFAULT: Final = 0.002
COST_LOWEST: Final = 1
COST_HIGHEST: Final = 99

MISSING_LINK_SHARE: Final = 0.1
DIRECTION_DIFFERENCE_MAX: Final = 3
"""How much dearer or cheaper a link of the grid may be the other way."""

FAST_LINE_EVERY: Final = 16
FAST_LINE_FACTOR: Final = 4
FASTEST_LINE_EVERY: Final = 128
FASTEST_LINE_FACTOR: Final = 16

GRID_BLOCK_NODES: Final = 1 << 16
"""Nodes whose links are drawn at once, rounded up to whole rows."""

_ZERO: Final = ord("0")


@dataclass(frozen=True, slots=True)
class IdScheme:
    """Ids of equal length made of two numbers: node v is `{letter}{v // per}{second_letter}{v % per}`, zero-padded."""

    letter: str
    digits: int
    second_letter: str
    second_digits: int
    per: int

    @classmethod
    def for_nodes(cls, letter: str, second_letter: str, nodes: int, per: int) -> IdScheme:
        """Return the scheme whose numbers are wide enough for nodes 0 to `nodes` - 1."""
        return cls(letter, len(str(max(nodes - 1, 0) // per)), second_letter, len(str(per - 1)), per)

    def packed(self, nodes: Int32Array | Int64Array) -> UInt8Array:
        """Return the ids of nodes as ASCII, uint8[k, width]."""
        first, second = np.divmod(np.asarray(nodes, np.int64), self.per)
        return np.hstack(
            [_letters(self.letter, first, self.digits), _letters(self.second_letter, second, self.second_digits)]
        )


def _letters(letter: str, number: Int64Array, digits: int) -> UInt8Array:
    text = np.empty((len(number), len(letter) + digits), np.uint8)
    text[:, : len(letter)] = np.frombuffer(letter.encode("ascii"), np.uint8)
    rest = number
    for place in range(digits - 1, -1, -1):
        rest, digit = np.divmod(rest, 10)
        text[:, len(letter) + place] = digit + _ZERO
    return text


@dataclass(frozen=True, slots=True)
class EdgeBlock:
    """Some edges: `tails`, `heads` int32[m], `costs` float64[m]; none is a self-loop, some are parallel."""

    tails: Int32Array
    heads: Int32Array
    costs: Float64Array


@dataclass(frozen=True, slots=True)
class GeneratedGraph:
    """A graph that is drawn block by block; `domain_nodes` and `region_nodes` are 0 where it has none."""

    kind: str
    nodes: int
    seed: int
    ids: IdScheme
    stray: float = 0.0
    domain_nodes: int = 0
    region_nodes: int = 0

    def domain_names(self, nodes: Int64Array) -> UInt8Array:
        """Return the domains of nodes as ASCII, uint8[k, width]: the first half of their ids."""
        assert self.domain_nodes == self.ids.per, "the graph has domains"
        return _letters(self.ids.letter, nodes // self.domain_nodes, self.ids.digits)

    def region_names(self, nodes: Int64Array) -> UInt8Array:
        """Return the regions of nodes as ASCII, uint8[k, width]."""
        assert self.region_nodes, "the graph has regions"
        return _letters("region", nodes // self.region_nodes, len(str((self.nodes - 1) // self.region_nodes)))

    def blocks(self) -> Iterator[EdgeBlock]:
        """Draw the edges, from the first node on."""
        return _service_blocks(self.nodes, self.seed, self.stray) if self.kind == "service" else _grid_blocks(self)

    def edges(self) -> EdgeBlock:
        """Draw all edges at once: 16 bytes each."""
        blocks = list(self.blocks())
        return EdgeBlock(
            np.concatenate([block.tails for block in blocks]),
            np.concatenate([block.heads for block in blocks]),
            np.concatenate([block.costs for block in blocks]),
        )


def service(nodes: int, seed: int = 0, stray: float = STRAY_DEFAULT) -> GeneratedGraph:
    """Return a graph like one of services: tight domains with hubs, few gateways between them, some stray edges.

    Domains of 1,000 nodes, regions of 32 domains. Every node has 4 edges inside its domain, to node
    floor(1,000 u^3) of it, u uniform. 10 gateways a domain have 20 cross edges in all to gateways of other domains,
    70 % of them within the region. A share `stray` of all edges goes to any node instead. Costs are 1 to 99.
    """
    _check_nodes(nodes)
    if not 0.0 <= stray <= 1.0:
        raise InvalidRequest(f"expected a share of stray edges from 0 to 1, got {stray}")
    ids = IdScheme.for_nodes("d", "n", nodes, DOMAIN_NODES)
    return GeneratedGraph("service", nodes, seed, ids, stray, DOMAIN_NODES, DOMAIN_NODES * REGION_DOMAINS)


def grid(nodes: int, seed: int = 0) -> GeneratedGraph:
    """Return a graph like one of roads: a square grid (its last row may be shorter) with fast lines.

    10 % of the links are missing; the others lead both ways, at costs 1 to 99 that differ a little. Every 16th row
    and column is 4 times, every 128th 16 times cheaper: the costs there are fractions that float64 holds exactly.
    """
    _check_nodes(nodes)
    width = math.isqrt(nodes - 1) + 1
    return GeneratedGraph("grid", nodes, seed, IdScheme.for_nodes("r", "c", nodes, width))


def _check_nodes(nodes: int) -> None:
    if not 1 <= nodes <= NODES_MAX:
        raise InvalidRequest(f"expected from 1 to {NODES_MAX} nodes, got {nodes}")


def _service_blocks(nodes: int, seed: int, stray: float) -> Iterator[EdgeBlock]:
    """Draw a region at a time."""
    domains = -(-nodes // DOMAIN_NODES)
    gateway_offset = np.random.default_rng([seed, 1]).integers(0, DOMAIN_NODES, domains)
    for first_domain in range(0, domains, REGION_DOMAINS):
        last_domain = min(domains, first_domain + REGION_DOMAINS)
        random = np.random.default_rng([seed, 2, first_domain])
        inner_tails, inner_heads = _edges_inside(random, nodes, first_domain, last_domain)
        cross_tails, cross_heads = _edges_across(random, nodes, domains, first_domain, last_domain, gateway_offset)
        tails = np.concatenate([inner_tails, cross_tails])
        heads = np.concatenate([inner_heads, cross_heads])
        strays = np.flatnonzero(random.random(len(heads)) < stray)
        heads[strays] = random.integers(0, nodes, len(strays))
        costs = random.integers(COST_LOWEST, COST_HIGHEST + 1, len(heads)).astype(np.float64)
        kept = tails != heads
        yield EdgeBlock(tails[kept].astype(np.int32), heads[kept].astype(np.int32), costs[kept])


def _domain_size(domain: Int64Array, nodes: int) -> Int64Array:
    return np.minimum(DOMAIN_NODES, nodes - domain * DOMAIN_NODES)


def _edges_inside(
    random: np.random.Generator, nodes: int, first_domain: int, last_domain: int
) -> tuple[Int64Array, Int64Array]:
    tails = np.repeat(np.arange(first_domain * DOMAIN_NODES, min(nodes, last_domain * DOMAIN_NODES)), EDGES_PER_NODE)
    domain = tails // DOMAIN_NODES
    size = _domain_size(domain, nodes)
    index = np.floor(size * random.random(len(tails)) ** 3).astype(np.int64)
    own = (domain * DOMAIN_NODES + index == tails) & (size > 1)  # a node is no target of its own edge
    heads: Int64Array = domain * DOMAIN_NODES + (index + own) % size
    return tails, heads


def _edges_across(
    random: np.random.Generator,
    nodes: int,
    domains: int,
    first_domain: int,
    last_domain: int,
    gateway_offset: Int64Array,
) -> tuple[Int64Array, Int64Array]:
    if domains == 1:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    own = np.repeat(np.arange(first_domain, last_domain), CROSS_EDGES_PER_DOMAIN)
    inside, outside = last_domain - first_domain, domains - (last_domain - first_domain)
    within: BoolArray = random.random(len(own)) < WITHIN_REGION_SHARE
    if inside == 1:
        within[:] = False
    if outside == 0:
        within[:] = True
    neighbor = first_domain + (own - first_domain + random.integers(1, max(inside, 2), len(own))) % inside
    stranger = (last_domain + random.integers(0, max(outside, 1), len(own))) % domains
    other = np.where(within, neighbor, stranger)
    tails = _gateway(own, random.integers(0, GATEWAYS_PER_DOMAIN, len(own)), nodes, gateway_offset)
    heads = _gateway(other, random.integers(0, GATEWAYS_PER_DOMAIN, len(own)), nodes, gateway_offset)
    return tails, heads


def _gateway(domain: Int64Array, number: Int64Array, nodes: int, gateway_offset: Int64Array) -> Int64Array:
    """Return the nodes that are gateways: 10 of a domain at equal distances, from a random one on."""
    size = _domain_size(domain, nodes)
    place: Int64Array = number * size // GATEWAYS_PER_DOMAIN
    return domain * DOMAIN_NODES + (gateway_offset[domain] + place) % size


def _grid_blocks(graph: GeneratedGraph) -> Iterator[EdgeBlock]:
    """Draw some rows at a time: the links from a row to its right and down."""
    width, nodes = graph.ids.per, graph.nodes
    block_nodes = -(-GRID_BLOCK_NODES // width) * width
    for first in range(0, nodes, block_nodes):
        random = np.random.default_rng([graph.seed, 3, first])
        node = np.arange(first, min(nodes, first + block_nodes))
        row, column = np.divmod(node, width)
        right = (column + 1 < width) & (node + 1 < nodes)
        down = node + width < nodes
        tails = np.concatenate([node[right], node[down]])
        heads = np.concatenate([node[right] + 1, node[down] + width])
        line = np.concatenate([row[right], column[down]])
        kept = random.random(len(tails)) >= MISSING_LINK_SHARE
        tails, heads, line = tails[kept], heads[kept], line[kept]
        factor = np.where(line % FAST_LINE_EVERY == 0, FAST_LINE_FACTOR, 1)
        factor[line % FASTEST_LINE_EVERY == 0] = FASTEST_LINE_FACTOR
        cost = random.integers(COST_LOWEST, COST_HIGHEST + 1, len(tails))
        difference = random.integers(-DIRECTION_DIFFERENCE_MAX, DIRECTION_DIFFERENCE_MAX + 1, len(tails))
        back = np.clip(cost + difference, COST_LOWEST, COST_HIGHEST)
        yield EdgeBlock(
            np.concatenate([tails, heads]).astype(np.int32),
            np.concatenate([heads, tails]).astype(np.int32),
            np.concatenate([cost / factor, back / factor]),
        )
