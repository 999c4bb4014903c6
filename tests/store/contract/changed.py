"""Batches of changes of small graphs: how they change a plain model, and random ones."""

from __future__ import annotations

import random
from collections.abc import Iterable

from planmesh.errors import Conflict
from planmesh.store.protocol import GraphStore, StoreChanges
from tests.store.contract.rows import Edges, Nodes, contents, edge_rows, node_rows

State = tuple[Nodes, Edges, int]
"""Nodes, edges and the position."""

IDS = [f"n{number}" for number in range(24)]


def changes(
    version: int,
    *,
    deleted: Iterable[str] = (),
    recreated: Nodes | None = None,
    upserted: Nodes | None = None,
    cut: Iterable[tuple[str, str]] = (),
    joined: Edges | None = None,
) -> StoreChanges:
    """Return a batch; `cut` are the deleted edges, `joined` the upserted ones."""
    edges = [(source, target, cost) for (source, target), cost in (joined or {}).items()]
    return StoreChanges(
        version, list(deleted), node_rows(recreated or {}), node_rows(upserted or {}), list(cut), edge_rows(edges)
    )


def applied(state: State, batch: StoreChanges) -> State:
    """Return the state after a batch, field by field in the order of StoreChanges."""
    nodes, edges = dict(state[0]), dict(state[1])

    def delete(ids: list[str]) -> None:
        gone = set(ids)
        for node in gone & nodes.keys():
            del nodes[node]
        for pair in [pair for pair in edges if not gone.isdisjoint(pair)]:
            del edges[pair]

    delete(batch.deleted_nodes)
    delete(batch.recreated_nodes.ids)
    for rows in (batch.recreated_nodes, batch.upserted_nodes):
        nodes.update(zip(rows.ids, zip(rows.domains, rows.regions, strict=True), strict=True))
    for pair in batch.deleted_edges:
        edges.pop(pair, None)
    joined = batch.upserted_edges
    for source, target, cost in zip(joined.sources, joined.targets, joined.costs.tolist(), strict=True):
        assert source in nodes
        assert target in nodes
        edges[source, target] = cost
    return nodes, edges, batch.version


def random_batch(draw: random.Random, state: State) -> StoreChanges:
    """Return a batch that a graph in that state can take. Each field may be empty, or name what does not exist."""

    def labels() -> tuple[str, str]:
        return draw.choice(("", "core", "édge")), draw.choice(("", "eu west"))

    ids = draw.sample(IDS, len(IDS))
    deleted, recreated, upserted = (
        [ids.pop() for _ in range(draw.choice((0, 0, most // 2, most)))] for most in (3, 3, 8)
    )
    known = sorted((set(state[0]) - set(deleted)) | set(recreated) | set(upserted))
    pairs = draw.sample([(source, target) for source in IDS for target in IDS], 12)
    present = draw.sample(sorted(state[1]), min(6, len(state[1])))
    wanted = [pair for pair in dict.fromkeys([*pairs, *present]) if set(pair) <= set(known)]
    joined = {pair: draw.choice((0.0, 0.1, 3.0, 1e9)) for pair in wanted if draw.random() < 0.7}
    cut = [pair for pair in dict.fromkeys([*present, *pairs]) if pair not in joined and draw.random() < 0.5]
    return changes(
        state[2] + draw.choice((1, 1, 7)),
        deleted=deleted,
        recreated={node: labels() for node in recreated},
        upserted={node: labels() for node in upserted},
        cut=cut,
        joined=joined,
    )


async def state_of(store: GraphStore) -> State:
    """Return the content and the position, both of one moment."""
    while True:
        before, position = await store.revision(), await store.position()
        try:
            async with store.read() as reading:
                if reading.revision != before:
                    continue
            nodes, edges = await contents(store)
        except Conflict:
            continue  # the graph was replaced meanwhile
        if await store.revision() == before:
            return nodes, edges, position
