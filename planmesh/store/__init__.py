"""Where users keep their graph: one small protocol, `planmesh.store.protocol.GraphStore`, over real databases."""
