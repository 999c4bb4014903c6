"""Redis in front of another store: `hybrid://?front=redis%3A...&back=neo4j%3A...`, two URLs, percent-encoded.

The store behind is the graph. The front keeps answers of `shortest_path` for pairs that are hot: asked for at least
`hot_threshold` times within the last `window_s`. Everything else goes to the store behind.

Freshness. An answer lies under a version, a random text that the front holds. A write takes three steps: it announces
itself (a new version; nothing is kept while a write is announced), writes to the store behind, and takes the
announcement back (again a new version) before it is acknowledged. A reader asks for version and answer in one step, and
keeps what it computed only if the version is still the same. So no reader that begins after the acknowledgement is
served an older answer, whichever process wrote; nothing is searched for or deleted, old answers are under a version
that nobody asks for, and expire. A writer that dies leaves its announcement, which lapses after `lease_s`. A front that
loses its memory makes a new version, which was never used before.

Writes past this store, straight to the one behind, are noticed by its revision within `check_s`. A write through this
store reads the revision that it led to and notes it as seen, so that it is not taken for one of those.

When the front is away, questions are answered by the store behind (`stats` counts them, the log says so) and writes are
refused: they could not be made known.
"""

from __future__ import annotations

from planmesh.store.hybrid.store import HybridOptions, HybridStats, HybridStore, open_url

__all__ = ["HybridOptions", "HybridStats", "HybridStore", "open_url"]
