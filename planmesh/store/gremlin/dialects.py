"""The databases that speak Gremlin, and all their differences that matter to us.

| | TinkerPop | JanusGraph | Neptune | Cosmos DB |
|---|---|---|---|---|
| requests | bytecode | bytecode | bytecode | scripts with bindings |
| encoding | GraphBinary | GraphBinary | GraphBinary | GraphSON 2 |
| path of the WebSocket | `/gremlin` | `/gremlin` | `/gremlin` | `/` |
| our id is | the vertex's own | property `uid`, indexed | the vertex's own | property `id`, and partition key |
| upserts | `mergeV`, `mergeE` in batches | the same | the same | get or create, in parallel |
| a batch is | one transaction | one transaction | one transaction | one transaction for each row |
| credentials | SASL | SASL | IAM signatures (SigV4) | SASL: `/dbs/…/colls/…` and a key |

Reasons: JanusGraph's own ids are numbers on every backend that keeps data. Neptune's properties hold sets unless the
traversal states a cardinality, so we state it everywhere. Cosmos DB has neither bytecode nor `mergeV`, and uses its
index for a vertex only at the start of a traversal, so each row is a separate request there, `pool_max` at a time.

What our tests run: TinkerPop and JanusGraph on their servers; Neptune's signatures on a server that verifies them, and
its traversals (all of them TinkerPop's) on Gremlin Server; Cosmos DB's scripts on Gremlin Server. We had no access to
Neptune and Cosmos DB themselves.
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
"""Cosmos DB's own codes: the request rate was exceeded, or another request changed the same document."""

TRANSACTION_CONFLICT: Final = "Conflict: element modified in another transaction"
"""The message of TinkerGraph, on which the tests run every dialect."""

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
"""Creates missing keys and labels, and an index for each new unique key. Returns the unique names with an index."""

META_LABEL: Final = "planmesh_graph"
META_NAME: Final = "planmesh_name"
REVISION: Final = "planmesh_revision"
REPLACING: Final = "planmesh_replacing"
LOCK: Final = "planmesh_lock"
LOCK_UNTIL: Final = "planmesh_lock_until"
POSITION: Final = "planmesh_position"
APPLYING: Final = "planmesh_applying"
"""Label of a vertex of our own, one for each graph, and its properties: the revision, the token of a running
replacement, and the versions of the last batch of changes that is complete and of one that was begun, both as texts."""

TEXTS: Final = (REVISION, REPLACING, LOCK, POSITION, APPLYING)
"""Those properties that are texts."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one of the databases differs from the others."""

    name: DialectName
    make_serializer: Callable[[], Any]
    path: str = "/gremlin"
    bytecode: bool = True
    """Whether it takes bytecode; otherwise it takes scripts with bindings."""

    id_property: str | None = None
    """Property that holds our id of a vertex; None: the vertex's own id does."""

    merges: bool = True
    """Whether it has mergeV and mergeE; otherwise a request for each row gets or creates it."""

    partitioned: bool = False
    """Whether every vertex must have the partition key."""

    passing: tuple[str, ...] = ()
    """Substrings of error messages after which the same request may succeed."""

    def is_passing(self, answer: ServerAnswer) -> bool:
        """Return whether the same request may succeed a little later."""
        if answer.status in TOO_MANY_REQUESTS or answer.detail in TOO_MANY_REQUESTS:
            return True
        return any(word in answer.message for word in (TRANSACTION_CONFLICT, *self.passing))

    def schema(self, options: GremlinOptions, id_property: str | None) -> Script | None:
        """Return a script that creates the schema that the database needs for our graph; None when it needs none."""
        if self.name is not DialectName.JANUSGRAPH:
            return None
        assert id_property is not None, "in JanusGraph, our id is always a property"
        return Script(
            JANUSGRAPH_SCHEMA,
            {
                "textNames": [options.domain_property, options.region_property, *TEXTS],
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
