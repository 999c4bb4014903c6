"""Answers in Redis, stored under a version that every write renews."""

from __future__ import annotations

import hashlib
from typing import Final

import orjson

from planmesh.store.protocol import StoredPath
from planmesh.store.redis.scripts import RedisScripts
from planmesh.store.urls import StoreUrl

SCRIPTS: Final = "planmesh.store.hybrid"

ANSWER_BYTES_MAX: Final = 1 << 20
"""Longer answers are not kept: this is a path of some ten thousand nodes."""


class Answers:
    """The answers that the front holds. Every method raises what RedisStore raises."""

    def __init__(self, front: StoreUrl, graph: str, timeout_s: float, connect_timeout_s: float) -> None:
        self._scripts = RedisScripts(front, f"hybrid:{graph}", timeout_s, connect_timeout_s, scripts=SCRIPTS)

    async def get(self, pair: tuple[str, str]) -> tuple[str, StoredPath | None, bool]:
        """Return the version, the answer under it, and whether there is one (the answer None means: no path)."""
        _, version, answer = await self._scripts.run("get", _key(pair))
        if not answer:
            return str(version), None, False
        return str(version), _decode(str(answer)), True

    async def put(self, pair: tuple[str, str], version: str, path: StoredPath | None, ttl_s: float) -> bool:
        """Store an answer unless a write was announced since its version was read; return whether it was stored."""
        answer = _encode(path)
        if len(answer) > ANSWER_BYTES_MAX:
            return False
        said = await self._scripts.run("put", _key(pair), version, answer, str(round(ttl_s * 1000)))
        return str(said[0]) == "ok"

    async def begin_write(self, token: str, lease_s: float) -> None:
        """Announce a write, or extend its announcement, for `lease_s` seconds."""
        await self._scripts.run("begin", token, str(round(lease_s * 1000)))

    async def end_write(self, token: str, revision: str = "") -> None:
        """Withdraw the announcement of a write. `revision`, read after the write, is recorded as seen; see `see`."""
        await self._scripts.run("end", token, revision)

    async def see(self, revision: str) -> bool:
        """Record the revision of the back; return whether it changed, which makes a new version."""
        return str((await self._scripts.run("seen", revision))[0]) == "moved"

    async def check(self) -> None:
        """Raise StoreUnavailable when the front does not answer."""
        await self._scripts.command("PING")

    async def close(self) -> None:
        """Close the connections to the front."""
        await self._scripts.close()


def _key(pair: tuple[str, str]) -> str:
    start, goal = pair
    return hashlib.blake2b(f"{start}\n{goal}".encode(), digest_size=16).hexdigest()


def _encode(path: StoredPath | None) -> str:
    return orjson.dumps(None if path is None else [path.nodes, path.step_costs, path.cost]).decode()


def _decode(text: str) -> StoredPath | None:
    value = orjson.loads(text)
    return None if value is None else StoredPath(*value)
