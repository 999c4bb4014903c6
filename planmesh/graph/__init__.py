"""Graphs as plain arrays: ids, adjacency, rules for their rows, and synthetic ones. Pure."""
