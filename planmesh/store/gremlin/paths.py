"""Finds cheapest paths here, from edges that the database returns for many nodes at a time.

Gremlin has no usable weighted shortest path: its `shortestPath()` step computes over the whole graph (it did not end in
90 s on 10,000 nodes), and a `repeat()` that sums costs walks every simple path. So we run Bellman and Ford's method in
rounds. Each round requests the edges that leave all nodes whose distance fell in the round before, except nodes already
as far as the goal. It is exact for costs of 0 or more. It takes about as many requests as the cheapest path has steps,
sometimes a few more.
"""

from __future__ import annotations

from planmesh.errors import NodeUnknown, NoPath
from planmesh.store.gremlin.connection import Connections
from planmesh.store.gremlin.packing import ID_BYTES, cut
from planmesh.store.gremlin.reading import edge_rows
from planmesh.store.gremlin.traversals import Traversals
from planmesh.store.gremlin.writing import Writer
from planmesh.store.protocol import StoredPath
from planmesh.store.row_checks import check_edges


async def find_path(
    connections: Connections, traversals: Traversals, writer: Writer, start: str, goal: str
) -> StoredPath:
    """Return a cheapest path. Raises NodeUnknown for an end that does not exist, NoPath when no path leads there."""
    known = await writer.known(sorted({start, goal}))
    for end in (start, goal):
        if end not in known:
            raise NodeUnknown(end)
    distance = {start: 0.0}
    before: dict[str, tuple[str, float]] = {}
    fallen = [start]
    while fallen:
        changed: dict[str, None] = {}
        for source, target, cost in await _edges_from(connections, traversals, fallen):
            reached = distance[source] + cost
            if reached < distance.get(target, float("inf")) and reached < distance.get(goal, float("inf")):
                distance[target] = reached
                before[target] = (source, cost)
                changed[target] = None
        fallen = [node for node in changed if node != goal]
    if goal not in distance:
        raise NoPath(start, goal)
    nodes, step_costs = [goal], []
    while nodes[-1] != start:
        source, cost = before[nodes[-1]]
        nodes.append(source)
        step_costs.append(cost)
    step_costs.reverse()
    return StoredPath(nodes[::-1], step_costs, sum(step_costs))


async def _edges_from(
    connections: Connections, traversals: Traversals, nodes: list[str]
) -> list[tuple[str, str, float]]:
    edges: list[tuple[str, str, float]] = []
    source, options = connections.location.text, connections.options
    for batch in cut(nodes, ID_BYTES, options.batch_rows, options.request_bytes_max):
        found = await connections.ask(traversals.out_edges(batch))
        rows = check_edges(edge_rows(found, options.cost_property, traversals.id_property or "id", source, 1), source)
        edges += zip(rows.sources, rows.targets, rows.costs.tolist(), strict=True)
    return edges
