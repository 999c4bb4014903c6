"""Synthetic graphs with the properties of real ones that make searches hard: skewed hubs, stray edges, fast lines.

A graph is drawn in blocks, each from its own seed, so a graph of ten million nodes needs the memory of one block. Equal
arguments give equal graphs on every machine.
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
"""Greatest difference between the costs of the two directions of a link of the grid, before fast lines divide them."""

FAST_LINE_EVERY: Final = 16
FAST_LINE_FACTOR: Final = 4
FASTEST_LINE_EVERY: Final = 128
FASTEST_LINE_FACTOR: Final = 16

GRID_BLOCK_NODES: Final = 1 << 16
"""Nodes of a block of the grid, rounded up to whole rows."""

_ZERO: Final = ord("0")


@dataclass(frozen=True, slots=True)
class IdScheme:
    """Ids of equal length from two zero-padded numbers: node v is `{letter}{v // per}{second_letter}{v % per}`."""

    letter: str
    digits: int
    second_letter: str
    second_digits: int
    per: int

    @classmethod
    def for_nodes(cls, letter: str, second_letter: str, nodes: int, per: int) -> IdScheme:
        """Return the scheme with just enough digits for nodes 0 to `nodes` - 1."""
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
    """Some edges: `tails`, `heads` int32[m], `costs` float64[m]. There are no self-loops; edges may be parallel."""

    tails: Int32Array
    heads: Int32Array
    costs: Float64Array


@dataclass(frozen=True, slots=True)
class GeneratedGraph:
    """A graph that is drawn block by block. `domain_nodes` and `region_nodes` are 0 if it has no domains or regions."""

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
        """Draw the edges, block by block, in the order of the nodes."""
        return _service_blocks(self.nodes, self.seed, self.stray) if self.kind == "service" else _grid_blocks(self)

    def edges(self) -> EdgeBlock:
        """Draw all edges at once. Takes 16 bytes an edge, twice that while blocks are joined."""
        blocks = list(self.blocks())
        return EdgeBlock(
            np.concatenate([block.tails for block in blocks]),
            np.concatenate([block.heads for block in blocks]),
            np.concatenate([block.costs for block in blocks]),
        )


def service(nodes: int, seed: int = 0, stray: float = STRAY_DEFAULT) -> GeneratedGraph:
    """Return a graph like one of services: tight domains with hubs, few gateways between them, some stray edges.

    Domains have 1,000 nodes, regions 32 domains. Every node has 4 edges to nodes of its domain, to number
    floor(1,000 u^3) there for a uniform u. Each domain has 10 gateways, with 20 cross edges in all to gateways of other
    domains, 70 % of them inside the region. A share `stray` of all edges leads to a random node instead. Costs are
    whole numbers from 1 to 99. Raises InvalidRequest for a `stray` or a number of nodes out of range.
    """
    _check_nodes(nodes)
    if not 0.0 <= stray <= 1.0:
        raise InvalidRequest(f"expected a share of stray edges from 0 to 1, got {stray}")
    ids = IdScheme.for_nodes("d", "n", nodes, DOMAIN_NODES)
    return GeneratedGraph("service", nodes, seed, ids, stray, DOMAIN_NODES, DOMAIN_NODES * REGION_DOMAINS)


def grid(nodes: int, seed: int = 0) -> GeneratedGraph:
    """Return a graph like one of roads: a square grid with fast lines. Its last row may be shorter.

    10 % of the links are missing. The others have edges in both directions, with costs from 1 to 99 that differ by at
    most 3. Links along every 16th row and column cost a quarter, along every 128th a sixteenth, which are fractions
    that float64 represents exactly. Raises InvalidRequest for a number of nodes out of range.
    """
    _check_nodes(nodes)
    width = math.isqrt(nodes - 1) + 1
    return GeneratedGraph("grid", nodes, seed, IdScheme.for_nodes("r", "c", nodes, width))


def _check_nodes(nodes: int) -> None:
    if not 1 <= nodes <= NODES_MAX:
        raise InvalidRequest(f"expected from 1 to {NODES_MAX} nodes, got {nodes}")


def _service_blocks(nodes: int, seed: int, stray: float) -> Iterator[EdgeBlock]:
    """Draw one region at a time."""
    domains = -(-nodes // DOMAIN_NODES)
    gateway_offset = np.random.default_rng([seed, 1]).integers(0, DOMAIN_NODES, domains)
    for first_domain in range(0, domains, REGION_DOMAINS):
        last_domain = min(domains, first_domain + REGION_DOMAINS)
        random = np.random.default_rng([seed, 2, first_domain])
        internal_tails, internal_heads = _edges_inside(random, nodes, first_domain, last_domain)
        cross_tails, cross_heads = _edges_across(random, nodes, domains, first_domain, last_domain, gateway_offset)
        tails = np.concatenate([internal_tails, cross_tails])
        heads = np.concatenate([internal_heads, cross_heads])
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
    own = (domain * DOMAIN_NODES + index == tails) & (size > 1)  # an edge to its own tail leads to the next node
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
    """Return gateway `number` (0 to 9) of each domain. They are evenly spaced, from a random first one on."""
    size = _domain_size(domain, nodes)
    place: Int64Array = number * size // GATEWAYS_PER_DOMAIN
    return domain * DOMAIN_NODES + (gateway_offset[domain] + place) % size


def _grid_blocks(graph: GeneratedGraph) -> Iterator[EdgeBlock]:
    """Draw some rows at a time: from each node the links to the right and down, in both directions."""
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
