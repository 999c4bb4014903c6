"""Builds versions from the rows of a load: partitions, indexes and overlay. Also resumes and repairs them."""
