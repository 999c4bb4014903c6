"""Stores in which users keep their graph: adapters for real databases behind `planmesh.store.protocol.GraphStore`."""
