"""Redis in front of another store: `hybrid://?front=redis%3A...&back=neo4j%3A...`, two URLs, percent-encoded.

The store in the back holds the graph. The front keeps answers of `shortest_path` for hot pairs: those requested at
least `hot_threshold` times within the last `window_s`. Everything else goes to the back.

Freshness. The front stores each answer under a version, a random text that the front itself holds. A write takes three
steps: it announces itself (the front makes a new version and keeps no answers while a write is announced), writes to
the back, and withdraws the announcement (again a new version) before the write is acknowledged. A reader fetches
version and answer in one step, and stores what it computed only if the version is still the same. So a reader that
begins after the acknowledgement never gets an older answer, whichever process wrote. Nothing is searched for or
deleted: old answers lie under a version that no reader uses, and expire. The announcement of a writer that dies lapses
after `lease_s`. A front that loses its memory makes a new version that was never used before.

Writes that go straight to the back are detected by its revision within `check_s`. A write through this store reads the
revision that it produced and records it as seen, so that it does not count as one of those.

When the front is down, the back answers queries (`stats` counts them and the log reports it), and writes are refused,
because they could not be announced.
"""

from __future__ import annotations

from planmesh.store.hybrid.store import HybridOptions, HybridStats, HybridStore, open_url

__all__ = ["HybridOptions", "HybridStats", "HybridStore", "open_url"]
