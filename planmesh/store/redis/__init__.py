"""A graph in Redis: `redis://`, `rediss://`, `redis+cluster://`, `rediss+cluster://`.

Each node has a hash with its adjacency. Every request is one script (`lua/`), so a batch is all or nothing, and the
counts change in the same step. All keys of a graph share one hash tag, `{planmesh:<graph>}`: in a cluster, a graph lies
on one shard, and many graphs (or partitions of one) spread over the shards.

A replacement is written under a new generation, and one step makes it the graph. The rest of the old generation is
removed bucket by bucket through the graph's own lists, never by scanning keys. With `ttl_s`, the whole graph expires
that long after its replacement.

Limits: a reading takes many requests, so it sees one state only if nothing is written meanwhile
(`GraphReading.unchanged`). How durable a write is depends on the server's configuration (appendfsync). `shortest_path`
occupies the server while it searches, up to `settled_max` nodes.
"""

from __future__ import annotations

from planmesh.store.redis.store import RedisOptions, RedisStore, open_url

__all__ = ["RedisOptions", "RedisStore", "open_url"]
