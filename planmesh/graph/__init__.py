"""Graphs as plain arrays: ids, adjacency, rules for rows, and synthetic graphs. Pure: no I/O, clock or logging."""
