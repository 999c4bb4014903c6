"""Receives the rows of a load: its options, its messages, the spool on disk, and its progress."""
