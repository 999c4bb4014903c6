"""Systems of record: where the rows of graphs are kept."""
