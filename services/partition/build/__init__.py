"""From a load's rows to a published version: partitions, indexes, overlay; resumption and repair."""
