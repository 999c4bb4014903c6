"""Snapshots: immutable files of one version of a graph, written aside, checksummed and memory-mapped."""
