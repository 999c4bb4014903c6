"""The coordinator computes plans: it locates nodes, dispatches work to workers, searches the overlay and merges."""
