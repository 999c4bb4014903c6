"""Immutable versions of a graph as files: written aside, checksummed, memory-mapped."""
