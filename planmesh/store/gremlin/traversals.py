"""The traversals that we send. Every value is an argument of a step; none is written into a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gremlin_python.process.graph_traversal import GraphTraversal, GraphTraversalSource, __
from gremlin_python.process.traversal import Bytecode, Cardinality, P, T, TraversalStrategies
from gremlin_python.process.traversal import Direction as Ends
from gremlin_python.structure.graph import Graph

from planmesh.store.gremlin.dialects import (
    APPLYING,
    LOCK,
    LOCK_UNTIL,
    META_LABEL,
    META_NAME,
    POSITION,
    REPLACING,
    REVISION,
    Dialect,
)
from planmesh.store.gremlin.options import GremlinOptions
from planmesh.store.protocol import Direction

SINGLE: Final = Cardinality.single

WITHIN_MAX: Final = 25
"""Ids in one `within`. JanusGraph compares each vertex that its index returns with all of them again: with 2,000 ids in
one `within` it found 230 a second, with 25 in each of many it found 10,000."""


class Traversals:
    """Traversals of one graph. Those that write end in a count, because servers differ in other endings."""

    def __init__(self, options: GremlinOptions, dialect: Dialect) -> None:
        self._options = options
        self._label = options.label
        self._edge = options.edge_label
        self.id_property = options.id_property or dialect.id_property
        self._partition = options.partition_property if dialect.partitioned else None
        self._meta_id = f"{META_LABEL}:{options.label}"

    def read_nodes(self) -> Bytecode:
        """All nodes: id, domain, region of each."""
        return self._shown(_g().V().has_label(self._label)).bytecode

    def get_node(self, node: str) -> Bytecode:
        """One node: id, domain, region; no result when it does not exist."""
        return self._shown(self._nodes(_g(), [node])).bytecode

    def read_edges(self) -> Bytecode:
        """All edges between our nodes: source, target, cost of each."""
        return self._shown_edges(_g().V().has_label(self._label)).bytecode

    def out_edges(self, ids: Sequence[str]) -> Bytecode:
        """Edges that leave the given nodes: source, target, cost of each."""
        return self._shown_edges(self._nodes(_g(), ids)).bytecode

    def count_nodes(self) -> Bytecode:
        """The number of nodes."""
        return _g().V().has_label(self._label).count().bytecode

    def count_edges(self) -> Bytecode:
        """The number of edges between our nodes."""
        return self._inner_edges(_g().V().has_label(self._label)).count().bytecode

    def known(self, ids: Sequence[str]) -> Bytecode:
        """The given ids that exist, each with the vertex's own id."""
        return self._nodes(_g(), ids).project("i", "v").by(self._id()).by(__.id_()).bytecode

    def ring(self, ids: Sequence[str], direction: Direction) -> Bytecode:
        """Ids of the nodes that are one edge away from the given nodes."""
        nodes = self._nodes(_g(), ids)
        steps = {Direction.OUT: nodes.out, Direction.IN: nodes.in_, Direction.BOTH: nodes.both}
        return self._end_in_ids(steps[direction](self._edge).has_label(self._label).dedup()).bytecode

    def merge_nodes(self, rows: Sequence[tuple[str, str, str]], revision: str) -> Bytecode:
        """Upsert nodes (id, domain, region) and set the revision in the same request."""
        key = self.id_property or T.id
        inject = [{"m": {T.label: self._label, key: node}, "d": domain, "r": region} for node, domain, region in rows]
        merged = (
            _g()
            .inject(inject)
            .unfold()
            .as_("row")
            .merge_v(__.select("m"))
            .property(SINGLE, self._options.domain_property, __.select("row").select("d"))
            .property(SINGLE, self._options.region_property, __.select("row").select("r"))
        )
        return self._moved(merged.count(), revision).bytecode

    def merge_edges(self, rows: Sequence[tuple[Any, Any, float]], revision: str, *, cheaper_only: bool) -> Bytecode:
        """Upsert edges between vertices given by their own ids, and set the revision in the same request.

        With `cheaper_only`, an existing edge keeps its cost unless the new one is lower.
        """
        cost = self._options.cost_property
        inject = [
            {"m": {T.label: self._edge, Ends.OUT: source, Ends.IN: target}, "c": value}
            for source, target, value in rows
        ]
        merged = _g().inject(inject).unfold().as_("row").merge_e(__.select("m")).as_("edge")
        put = __.property(cost, __.select("row").select("c"))
        if cheaper_only:
            merged = merged.coalesce(__.where("edge", P.lte("row")).by(cost).by("c"), put)
        else:
            merged = merged.property(cost, __.select("row").select("c"))
        return self._moved(merged.count(), revision).bytecode

    def add_edges(self, rows: Sequence[tuple[Any, Any, float]], revision: str) -> Bytecode:
        """Add edges that do not exist yet, between existing vertices given by their own ids; set the revision as well.

        Merging would scan all edges of the source for each new one: a day for a node with a hundred thousand edges.
        """
        inject = [{"o": {T.id: source}, "i": {T.id: target}, "c": cost} for source, target, cost in rows]
        added = (
            _g()
            .inject(inject)
            .unfold()
            .as_("row")
            .merge_v(__.select("o"))
            .as_("source")
            .select("row")
            .merge_v(__.select("i"))
            .as_("target")
            .add_e(self._edge)
            .from_("source")
            .to("target")
            .property(self._options.cost_property, __.select("row").select("c"))
        )
        return self._moved(added.count(), revision).bytecode

    def put_node(self, node: str, domain: str, region: str) -> Bytecode:
        """Upsert one node without mergeV."""
        assert self.id_property is not None, "a dialect without merge steps has an id property"
        created = __.add_v(self._label).property(self.id_property, node)
        if self._partition is not None:
            created = created.property(self._partition, node)
        return (
            self._nodes(_g(), [node])
            .fold()
            .coalesce(__.unfold(), created)
            .property(SINGLE, self._options.domain_property, domain)
            .property(SINGLE, self._options.region_property, region)
            .count()
            .bytecode
        )

    def put_edge(self, source: str, target: str, cost: float, *, cheaper_only: bool) -> Bytecode:
        """Upsert one edge without mergeE; with `cheaper_only` an existing edge keeps a lower cost."""
        name = self._options.cost_property
        goal = self._nodes(__, [target])
        there = __.out_e(self._edge).where(self._has_id(__.in_v(), target))
        edge = self._nodes(_g(), [source]).coalesce(there, __.add_e(self._edge).to(goal))
        if cheaper_only:
            edge = edge.coalesce(__.has(name, P.lte(cost)), __.property(name, cost))
        else:
            edge = edge.property(name, cost)
        return edge.count().bytecode

    def delete_nodes(self, ids: Sequence[str], revision: str) -> Bytecode:
        """Delete nodes with their edges, and set the revision in the same request."""
        return self._moved(_drop_all(self._nodes(_g(), ids)), revision).bytecode

    def delete_edges(self, pairs: Sequence[tuple[str, str]], revision: str) -> Bytecode:
        """Delete edges, and set the revision in the same request."""
        each = [
            self._nodes(__, [source]).out_e(self._edge).where(self._has_id(__.in_v(), target))
            for source, target in pairs
        ]
        return self._moved(_drop_all(_g().inject(0).union(*each)), revision).bytecode

    def drop_some(self, count: int) -> Bytecode:
        """Delete up to `count` nodes; the result is the number deleted."""
        return _g().V().has_label(self._label).limit(count).side_effect(__.drop()).count().bytecode

    def get_meta(self) -> Bytecode:
        """The revision, whether a replacement is being written, and both versions; no result for a new graph."""
        shown = self._meta(_g()).project("revision", "replacing", "position", "applying")
        for name in (REVISION, REPLACING, POSITION, APPLYING):
            shown = shown.by(__.coalesce(__.values(name), __.constant("")))
        return shown.bytecode

    def make_meta(self, revision: str) -> Bytecode:
        """Create the vertex that holds the revision, unless it exists."""
        created = __.add_v(META_LABEL)
        if self.id_property is None:
            created = created.property(T.id, self._meta_id)
        created = created.property(SINGLE, META_NAME, self._label).property(SINGLE, REVISION, revision)
        if self._partition is not None:
            created = created.property(self._partition, self._meta_id)
        return self._meta(_g()).fold().coalesce(__.unfold(), created).count().bytecode

    def move(self, revision: str) -> Bytecode:
        """Set the revision."""
        return self._meta(_g()).property(SINGLE, REVISION, revision).count().bytecode

    def begin_replacing(self, revision: str) -> Bytecode:
        """Mark the graph as incomplete."""
        return self._meta(_g()).property(SINGLE, REVISION, revision).property(SINGLE, REPLACING, "yes").count().bytecode

    def end_replacing(self, revision: str, position: int) -> Bytecode:
        """Mark the graph as complete, at a position."""
        moved = self._meta(_g()).property(SINGLE, REVISION, revision).property(SINGLE, POSITION, str(position))
        return moved.side_effect(__.properties(REPLACING, APPLYING).drop()).count().bytecode

    def begin_applying(self, version: int, revision: str) -> Bytecode:
        """Record that a batch of changes is begun, and set the revision."""
        begun = self._meta(_g()).property(SINGLE, REVISION, revision).property(SINGLE, APPLYING, str(version))
        return begun.count().bytecode

    def end_applying(self, version: int, revision: str) -> Bytecode:
        """Record that the batch of changes that was begun is complete; 1 when it is still the one that was begun."""
        begun = self._meta(_g()).has(APPLYING, str(version))
        moved = begun.property(SINGLE, REVISION, revision).property(SINGLE, POSITION, str(version))
        return moved.side_effect(__.properties(APPLYING).drop()).count().bytecode

    def lock(self, token: str, now_unix_s: float, until_unix_s: float) -> Bytecode:
        """Take the lock unless another client holds it; 1 when it was taken."""
        free = self._meta(_g()).or_(__.has_not(LOCK_UNTIL), __.has(LOCK_UNTIL, P.lt(now_unix_s)))
        return free.property(SINGLE, LOCK, token).property(SINGLE, LOCK_UNTIL, until_unix_s).count().bytecode

    def keep_lock(self, token: str, until_unix_s: float) -> Bytecode:
        """Extend the lock; 1 when it is still ours."""
        return self._meta(_g()).has(LOCK, token).property(SINGLE, LOCK_UNTIL, until_unix_s).count().bytecode

    def unlock(self, token: str) -> Bytecode:
        """Release the lock if it is still ours."""
        return self._meta(_g()).has(LOCK, token).side_effect(__.properties(LOCK, LOCK_UNTIL).drop()).count().bytecode

    def _nodes(self, start: Any, ids: Sequence[str]) -> GraphTraversal:
        """Start at our nodes with the given ids."""
        if self.id_property is None:
            return start.V(*ids).has_label(self._label)
        if len(ids) <= WITHIN_MAX:
            wanted = ids[0] if len(ids) == 1 else P.within(list(ids))
            return start.V().has(self._label, self.id_property, wanted)
        batches = [ids[first : first + WITHIN_MAX] for first in range(0, len(ids), WITHIN_MAX)]
        return start.inject(0).union(*(self._nodes(__, batch) for batch in batches))

    def _meta(self, start: Any) -> GraphTraversal:
        if self.id_property is None:
            return start.V(self._meta_id)
        return start.V().has(META_LABEL, META_NAME, self._label)

    def _moved(self, counted: GraphTraversal, revision: str) -> GraphTraversal:
        """Continue from a count by setting the revision: in the same transaction, where a traversal is one."""
        return self._meta(counted).property(SINGLE, REVISION, revision).count()

    def _id(self) -> GraphTraversal:
        if self.id_property is None:
            return __.id_()
        return __.coalesce(__.values(self.id_property), __.constant(""))

    def _end_in_ids(self, nodes: GraphTraversal) -> GraphTraversal:
        return nodes.id_() if self.id_property is None else nodes.values(self.id_property)

    def _has_id(self, nodes: GraphTraversal, node: str) -> GraphTraversal:
        return nodes.has_id(node) if self.id_property is None else nodes.has(self.id_property, node)

    def _shown(self, nodes: GraphTraversal) -> GraphTraversal:
        shown = nodes.project("i", "d", "r").by(self._id())
        for name in (self._options.domain_property, self._options.region_property):
            shown = shown.by(__.coalesce(__.values(name), __.constant("")))
        return shown

    def _inner_edges(self, nodes: GraphTraversal) -> GraphTraversal:
        return nodes.out_e(self._edge).where(__.in_v().has_label(self._label))

    def _shown_edges(self, nodes: GraphTraversal) -> GraphTraversal:
        cost = __.coalesce(__.values(self._options.cost_property), __.constant(""))
        source, target = __.out_v(), __.in_v()
        if self.id_property is None:
            source, target = source.id_(), target.id_()
        else:
            source, target = (end.coalesce(__.values(self.id_property), __.constant("")) for end in (source, target))
        return self._inner_edges(nodes).project("s", "t", "c").by(source).by(target).by(cost)


def _drop_all(found: GraphTraversal) -> GraphTraversal:
    """Delete what a traversal finds, once all of it is found, and count it.

    TinkerGraph, searched by a property, does not find some edges of a vertex of which the same traversal has already
    deleted another edge.
    """
    return found.fold().unfold().side_effect(__.drop()).count()


def _g() -> GraphTraversalSource:
    return GraphTraversalSource(Graph(), TraversalStrategies())
