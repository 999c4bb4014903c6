"""Exact search over partitions: contraction, local search, overlay search, unpacking and the reference searches."""
