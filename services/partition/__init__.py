"""The partition service: the catalog, ingest, versions and their repair."""
