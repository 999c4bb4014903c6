"""A graph behind Gremlin: TinkerPop's Gremlin Server, JanusGraph, Amazon Neptune, Azure Cosmos DB.

URL: `gremlin://user:password@host:8182/g`, or `gremlin+wss://` with TLS; the path names the traversal source. The
option `dialect` names the database (`planmesh.store.gremlin.dialects` lists the differences). The other options are in
`planmesh.store.gremlin.options`.
"""

from planmesh.store.gremlin.store import GremlinStore, open_url

__all__ = ["GremlinStore", "open_url"]
