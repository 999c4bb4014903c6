"""The benchmark: planmesh and its alternatives on the same graphs and pairs, in the same run."""
