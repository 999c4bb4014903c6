"""A graph in Redis: `redis://`, `rediss://`, `redis+cluster://`, `rediss+cluster://`.

Adjacency lies in hashes, one a node, and every request is one script (`lua/`), so a batch happens whole or not at all,
and whatever was written is counted in the same step. All keys of a graph share one hash tag, `{planmesh:<graph>}`: in a
cluster a graph lies on one shard, and many graphs (or partitions of one) spread over the shards.

A replacement is written under a generation of its own; one step makes it the graph. What is left of the one before is
removed bucket by bucket through the graph's own lists, never by scanning keys. With `ttl_s` a graph goes as a whole
that long after its replacement.

What it cannot do: a reading is many requests, so it is one state only if nothing was written meanwhile
(`GraphReading.unchanged`); how durable a write is, is for the server's own configuration (appendfsync) to say; and
`shortest_path` keeps the server busy while it searches, up to `settled_max` nodes.
"""

from __future__ import annotations

from planmesh.store.redis.store import RedisOptions, RedisStore, open_url

__all__ = ["RedisOptions", "RedisStore", "open_url"]
