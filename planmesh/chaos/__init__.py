"""Injects faults into a mesh under a checked load, and judges what callers saw."""
