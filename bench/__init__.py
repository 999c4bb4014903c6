"""The benchmark: planmesh beside what one would use instead, on the same graphs and pairs, in the same run."""
