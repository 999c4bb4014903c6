"""The partition service: it ingests loads, builds and repairs versions, and keeps the catalog of graphs."""
