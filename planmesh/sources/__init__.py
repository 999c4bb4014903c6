"""Sources of graphs besides files: a store, several stores, a running mesh."""
