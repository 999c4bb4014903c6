"""Sources of graphs other than files: a store, several stores, a running mesh."""
