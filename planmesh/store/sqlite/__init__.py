"""The embedded store: one SQLite file, `sqlite:///path`; the reference of the others.

Write-ahead log; every write of one call is one transaction, on disk when the call returns, so that a process killed at
any moment loses nothing that was acknowledged and leaves nothing by halves. A reading sees the state of its beginning,
however long it takes. A replacement is written into tables of its own and put in place in one transaction.
"""

from __future__ import annotations

from planmesh.store.sqlite.store import SqliteOptions, SqliteStore, open_url

__all__ = ["SqliteOptions", "SqliteStore", "open_url"]
