"""The coordinator computes plans: it locates, dispatches to workers, searches the overlay and merges."""
