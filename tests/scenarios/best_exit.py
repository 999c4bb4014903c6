"""The piecewise scheme that planmesh is not: the fewest partitions, each left by the exit that looks best.

It is what one writes first, and it returns paths that are not the cheapest; scenarios show both costs side by side.
"""

from __future__ import annotations

from itertools import pairwise

import networkx as nx


def best_exit_cost(domains: dict[str, str], edges: list[tuple[str, str, float]], start: str, goal: str) -> float:
    """The cost of the path that the scheme finds; a partition is a domain.

    From each partition of the shortest sequence it takes the exit to the next one that is nearest to where it stands.
    """
    graph = nx.DiGraph()
    for tail, head, cost in edges:
        if cost < graph.get_edge_data(tail, head, {"cost": float("inf")})["cost"]:
            graph.add_edge(tail, head, cost=cost)
    between = nx.DiGraph((domains[tail], domains[head]) for tail, head, _ in edges if domains[tail] != domains[head])
    sequence = nx.shortest_path(between, domains[start], domains[goal]) if domains[start] != domains[goal] else []
    place, total = start, 0.0
    for here, following in pairwise(sequence):
        inside = graph.subgraph([node for node in graph if domains[node] == here])
        distances = nx.single_source_dijkstra_path_length(inside, place, weight="cost")
        exits = [
            (distances[tail] + data["cost"], head)
            for tail, head, data in graph.edges(data=True)
            if tail in distances and domains[head] == following
        ]
        cost, place = min(exits)
        total += cost
    inside = graph.subgraph([node for node in graph if domains[node] == domains[goal]])
    last: float = nx.dijkstra_path_length(inside, place, goal, weight="cost")
    return total + last
