"""Which node is searched in which partition: strategies, size bounds, order, and the report on the outcome. Pure."""
