"""Assignment of nodes to partitions: strategies, size bounds, order and report. Pure: no I/O, clock or logging."""
