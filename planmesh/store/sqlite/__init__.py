"""The embedded store, one SQLite file: `sqlite:///path`. It is the reference for the other stores.

It uses a write-ahead log. All writes of one call are one transaction, which is on disk when the call returns: a process
that is killed at any moment loses no acknowledged write and leaves none half done. A reading sees the state of its
beginning, however long it takes. A replacement is written into separate tables and put in place in one transaction.
"""

from __future__ import annotations

from planmesh.store.sqlite.store import SqliteOptions, SqliteStore, open_url

__all__ = ["SqliteOptions", "SqliteStore", "open_url"]
