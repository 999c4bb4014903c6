"""The piecewise scheme, which planmesh does not use: cross the fewest partitions, each by the exit that looks best.

It is the obvious first attempt, and its paths are not always the cheapest. Scenarios show both costs.
"""

from __future__ import annotations

from itertools import pairwise

import networkx as nx


def best_exit_cost(domains: dict[str, str], edges: list[tuple[str, str, float]], start: str, goal: str) -> float:
    """Return the cost of the scheme's path. Each domain is a partition.

    In each partition of the shortest sequence, the scheme takes the nearest exit to the next one.
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
