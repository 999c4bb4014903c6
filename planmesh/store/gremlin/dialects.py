"""The databases that speak Gremlin, and all in which they differ.

| | TinkerPop | JanusGraph | Neptune | Cosmos DB |
|---|---|---|---|---|
| requests | bytecode | bytecode | bytecode | scripts with bindings |
| encoding | GraphBinary | GraphBinary | GraphBinary | GraphSON 2 |
| path of the WebSocket | `/gremlin` | `/gremlin` | `/gremlin` | `/` |
| our id is | the vertex's own | property `uid`, indexed | the vertex's own | property `id`, and partition key |
| upserts | `mergeV`, `mergeE` in batches | the same | the same | get or create, side by side |
| a batch is | one transaction | one transaction | one transaction | as many as rows |
| credentials | SASL | SASL | IAM signatures (SigV4) | SASL: `/dbs/…/colls/…` and a key |

Why: JanusGraph's own ids are numbers over any backend that keeps data. Neptune's properties hold sets unless a
cardinality is said, so it is said everywhere. Cosmos DB has neither bytecode nor `mergeV`, and finds a vertex by its
index only at the beginning of a traversal, so each row is a request of its own there, `pool_max` at a time.

Run by our tests: TinkerPop and JanusGraph on their servers; Neptune's signatures on a server that verifies them, its
traversals (all of them TinkerPop's) on Gremlin Server; Cosmos DB's scripts on Gremlin Server. Neptune and Cosmos DB
themselves were not to be had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gremlin_python.driver.serializer import GraphBinarySerializersV1, GraphSONSerializersV2d0

from planmesh.store.gremlin.failures import ServerAnswer
from planmesh.store.gremlin.options import DialectName, GremlinOptions
from planmesh.store.gremlin.scripts import Script

TOO_MANY_REQUESTS: Final = (429, 449)
"""Cosmos DB's own codes: over its rate, or another request changed the same document."""

TRANSACTION_CONFLICT: Final = "Conflict: element modified in another transaction"
"""TinkerGraph's, over which any dialect may be tried."""

JANUSGRAPH_SCHEMA: Final = """
def management = g.getGraph().openManagement()
try {
  def one = org.janusgraph.core.Cardinality.SINGLE
  def make = { name, type -> management.makePropertyKey(name).dataType(type).cardinality(one).make() }
  (textNames + numberNames).each { name ->
    if (!management.containsPropertyKey(name)) { make(name, textNames.contains(name) ? String.class : Double.class) }
  }
  vertexLabels.each { name -> if (!management.containsVertexLabel(name)) { management.makeVertexLabel(name).make() } }
  if (!management.containsEdgeLabel(edgeLabel)) { management.makeEdgeLabel(edgeLabel).make() }
  def indexed = []
  uniqueNames.each { name ->
    if (!management.containsPropertyKey(name)) {
      def made = make(name, String.class)
      management.buildIndex('planmesh_' + name, Vertex.class).addKey(made).unique().buildCompositeIndex()
    }
    def wanted = management.getPropertyKey(name)
    for (index in management.getGraphIndexes(Vertex.class)) {
      if (index.isCompositeIndex() && index.fieldKeys.length == 1 && index.fieldKeys[0] == wanted) { indexed << name }
    }
  }
  management.commit()
  indexed
} catch (Throwable error) {
  management.rollback()
  throw error
}
"""
"""Makes what is not there: keys, labels, an index for each new unique key. Returns the unique names that have one."""

META_LABEL: Final = "planmesh_graph"
META_NAME: Final = "planmesh_name"
REVISION: Final = "planmesh_revision"
REPLACING: Final = "planmesh_replacing"
LOCK: Final = "planmesh_lock"
LOCK_UNTIL: Final = "planmesh_lock_until"
"""A vertex of our own, one a graph, has its revision, and whether and by whom it is being replaced."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One of the databases."""

    name: DialectName
    make_serializer: Callable[[], Any]
    path: str = "/gremlin"
    bytecode: bool = True
    """Whether it takes bytecode; otherwise scripts with bindings."""

    id_property: str | None = None
    """Property that is a vertex's id; None: its own id."""

    merges: bool = True
    """Whether it has mergeV and mergeE; otherwise each row is got or created by a request of its own."""

    partitioned: bool = False
    """Whether a vertex must have the partition key."""

    passing: tuple[str, ...] = ()
    """Words of errors after which the same request may succeed."""

    def is_passing(self, answer: ServerAnswer) -> bool:
        """Tell whether the same request may succeed a little later."""
        if answer.status in TOO_MANY_REQUESTS or answer.detail in TOO_MANY_REQUESTS:
            return True
        return any(word in answer.message for word in (TRANSACTION_CONFLICT, *self.passing))

    def schema(self, options: GremlinOptions, id_property: str | None) -> Script | None:
        """Return a script that makes what the database needs before it takes our graph; None when it needs nothing."""
        if self.name is not DialectName.JANUSGRAPH:
            return None
        assert id_property is not None, "JanusGraph's ids are a property"
        return Script(
            JANUSGRAPH_SCHEMA,
            {
                "textNames": [options.domain_property, options.region_property, REVISION, REPLACING, LOCK],
                "numberNames": [options.cost_property, LOCK_UNTIL],
                "uniqueNames": [id_property, META_NAME],
                "vertexLabels": [options.label, META_LABEL],
                "edgeLabel": options.edge_label,
            },
        )


DIALECTS: Final = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            DialectName.TINKERPOP,
            GraphBinarySerializersV1,
        ),
        Dialect(
            DialectName.JANUSGRAPH,
            GraphBinarySerializersV1,
            id_property="uid",
            passing=("PermanentLockingException", "TemporaryLockingException", "Local lock contention"),
        ),
        Dialect(
            DialectName.NEPTUNE,
            GraphBinarySerializersV1,
            passing=("ConcurrentModificationException", "ThrottlingException", "ConstraintViolationException"),
        ),
        Dialect(
            DialectName.COSMOSDB,
            GraphSONSerializersV2d0,
            path="/",
            bytecode=False,
            id_property="id",
            merges=False,
            partitioned=True,
        ),
    )
}
