"""Small graphs with the shapes of infrastructure (hubs, cliques, chains, bipartite middles), and costs that round."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

Edge = tuple[int, int, float]
Edges = list[tuple[int, int] | Edge]
Family = Callable[[Random, int], tuple[int, Edges]]
"""Makes a graph of about n nodes; returns the number of nodes, and the edges, most of them without a cost."""


def star(random: Random, count: int) -> tuple[int, Edges]:
    """A hub, and leaves with edges to it, from it or both."""
    edges: Edges = []
    for leaf in range(1, count):
        edges += random.choice([[(0, leaf)], [(leaf, 0)], [(0, leaf), (leaf, 0)]])
    return count, edges + _some(random, count, count // 4)


def star_of_stars(random: Random, count: int) -> tuple[int, Edges]:
    """A hub whose leaves are hubs."""
    hubs = random.randint(2, max(2, count // 3))
    edges: Edges = [pair for hub in range(1, hubs + 1) for pair in ((0, hub), (hub, 0))]
    nodes = max(count, hubs + 2)
    for leaf in range(hubs + 1, nodes):
        hub = random.randint(1, hubs)
        edges += random.choice([[(hub, leaf)], [(leaf, hub)], [(hub, leaf), (leaf, hub)]])
    return nodes, edges + _some(random, nodes, nodes // 5)


def bipartite(random: Random, count: int) -> tuple[int, Edges]:
    """An edge from every source to every target."""
    sources = random.randint(1, max(1, count - 1))
    edges: Edges = [(one, two) for one in range(sources) for two in range(sources, count)]
    return count, edges + _some(random, count, count // 3)


def middles(random: Random, count: int) -> tuple[int, Edges]:
    """Sources reach targets through several middle nodes, which lack some edges. The sources also lead to a hub."""
    middle_count = random.randint(2, 3)
    hub_leaves = random.randint(1, max(1, count // 3))
    ends = max(2, (count - middle_count - hub_leaves - 1) // 2)
    sources = range(middle_count, middle_count + ends)
    targets = range(sources.stop, sources.stop + ends)
    hub = targets.stop
    leaves = range(hub + 1, hub + 1 + hub_leaves)
    edges: Edges = []
    for middle in range(middle_count):
        edges += [(source, middle) for source in sources if middle == 0 or random.random() < 0.8]
        edges += [(middle, target) for target in targets if middle == 0 or random.random() < 0.8]
    edges += [(source, hub) for source in sources if random.random() < 0.8] + [(hub, leaf) for leaf in leaves]
    return leaves.stop, edges + _some(random, leaves.stop, random.randint(0, 3))


def led_astray(random: Random, count: int) -> tuple[int, Edges]:
    """A centre that only one source needs, and a cheap hub at which longer witness searches end.

    A short witness search skips the hub, which has too many edges for it, and finds the second node. A longer one may
    expand the hub, and then settles its leaves until it must stop.
    """
    ends = random.randint(2, 4)
    centre, second, hub = 0, 1, 2
    sources = range(3, 3 + ends)
    targets = range(sources.stop, sources.stop + ends)
    leaves = range(targets.stop, targets.stop + random.randint(3, max(4, count)))
    edges: Edges = []
    edges += [(source, centre, 1.0) for source in sources] + [(centre, target, 1.0) for target in targets]
    edges += [(source, second, 0.5) for source in sources[:-1]] + [(second, target, 0.5) for target in targets]
    edges += [(source, hub, 0.001) for source in sources] + [(hub, leaf, 0.001) for leaf in leaves]
    return leaves.stop, edges + _some(random, leaves.stop, random.randint(0, 2))


def overtaken(random: Random, count: int) -> tuple[int, Edges]:
    """Every node leads to all later ones, and many small steps cost less than a large one, so labels improve often."""
    power = random.choice([1.5, 2.0, 3.0])
    edges: Edges = [(one, two, float((two - one) ** power)) for one in range(count) for two in range(one + 1, count)]
    return count, edges


def preferential(random: Random, count: int) -> tuple[int, Edges]:
    """New nodes prefer nodes that already have many edges (Barabási and Albert 1999)."""
    ends = [0]
    edges: Edges = []
    for node in range(1, count):
        for _ in range(random.randint(1, 3)):
            other = random.choice(ends)
            if other != node:
                edges += random.choice([[(node, other)], [(other, node)], [(node, other), (other, node)]])
                ends += [node, other]
    return count, edges


def hubs_behind_hubs(random: Random, count: int) -> tuple[int, Edges]:
    """A chain of hubs, and leaves with edges to or from one or two of them."""
    hubs = random.randint(2, max(2, count // 3))
    edges: Edges = [pair for hub in range(hubs - 1) for pair in ((hub, hub + 1), (hub + 1, hub))]
    nodes = max(count, hubs)
    for leaf in range(hubs, nodes):
        for hub in random.sample(range(hubs), random.randint(1, 2)):
            edges += random.choice([[(hub, leaf)], [(leaf, hub)], [(hub, leaf), (leaf, hub)]])
    return nodes, edges


def chain_of_cliques(random: Random, count: int) -> tuple[int, Edges]:
    """Cliques, each joined to the next by one or two edges."""
    size = random.randint(2, 5)
    edges: Edges = []
    for begin in range(0, count, size):
        members = range(begin, min(begin + size, count))
        edges += [(one, two) for one in members for two in members if one != two]
        if members.stop < count:
            edges += [(random.choice(members), members.stop), (members.stop, random.choice(members))]
    return count, edges


def one_way_hubs(random: Random, count: int) -> tuple[int, Edges]:
    """A hub with in-edges only, which leads to a hub with out-edges only."""
    edges: Edges = [(0, 1)]
    for leaf in range(2, count):
        edges += random.choice([[(leaf, 0)], [(1, leaf)], [(leaf, 0), (1, leaf)]])
    return max(count, 2), edges + _some(random, max(count, 2), count // 4)


def mixed(random: Random, count: int) -> tuple[int, Edges]:
    """Random edges, sparse to dense."""
    return count, _some(random, count, random.randint(0, 4 * count))


def components(random: Random, count: int) -> tuple[int, Edges]:
    """Two graphs of other families with no edge between them."""
    first, edges = random.choice(SHAPES)(random, max(2, count // 2))
    second, more = random.choice(SHAPES)(random, max(2, count - count // 2))
    return first + second, edges + [(edge[0] + first, edge[1] + first, *edge[2:]) for edge in more]


SHAPES: Final[tuple[Family, ...]] = (
    star,
    star_of_stars,
    bipartite,
    middles,
    led_astray,
    led_astray,
    overtaken,
    preferential,
    hubs_behind_hubs,
    chain_of_cliques,
    one_way_hubs,
    mixed,
)
FAMILIES: Final[tuple[Family, ...]] = (*SHAPES, components)


def _some(random: Random, count: int, edge_count: int) -> Edges:
    return [(random.randrange(count), random.randrange(count)) for _ in range(edge_count)]


COSTS: Final[dict[str, Callable[[Random], float]]] = {
    "ties": lambda random: float(random.randint(1, 3)),
    "zeros": lambda random: float(random.choice([0, 0, 1, 2])),
    "fractions": lambda random: random.randint(1, 30) / 10,
    "zeros and fractions": lambda random: random.choice([0.0, random.randint(1, 9) / 10]),
    "nine orders of magnitude": lambda random: 10.0 ** random.uniform(-4.5, 4.5),
    "cheap and dear": lambda random: random.choice([0.001, 0.5, 1.0, 1000.0]),
    "any": lambda random: random.uniform(0, 100),
}
"""Distributions of an edge's cost."""
