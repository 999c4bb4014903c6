"""A graph in Neo4j 5: labelled nodes with an id property, and relationships of one type with a cost property.

URL: `neo4j://user:password@host:7687/database` (with routing) or `bolt://` (one server). `+s` requires TLS with a
trusted certificate, `+ssc` accepts any certificate. Options: `planmesh.store.neo4j.options`.
"""

from planmesh.store.neo4j.store import Neo4jStore, open_url

__all__ = ["Neo4jStore", "open_url"]
