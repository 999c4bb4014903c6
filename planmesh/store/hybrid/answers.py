"""Answers in Redis, under a version that every write makes anew."""

from __future__ import annotations

import hashlib
from typing import Final

import orjson

from planmesh.store.protocol import StoredPath
from planmesh.store.redis.scripts import RedisScripts
from planmesh.store.urls import StoreUrl

SCRIPTS: Final = "planmesh.store.hybrid"

ANSWER_BYTES_MAX: Final = 1 << 20
"""Longer answers are not kept: a path of some ten thousand nodes."""


class Answers:
    """What the front holds. Raises what RedisStore raises."""

    def __init__(self, front: StoreUrl, graph: str, timeout_s: float, connect_timeout_s: float) -> None:
        self._scripts = RedisScripts(front, f"hybrid:{graph}", timeout_s, connect_timeout_s, scripts=SCRIPTS)

    async def get(self, pair: tuple[str, str]) -> tuple[str, StoredPath | None, bool]:
        """Return the version, and the answer under it; the last tells whether there is one (None is: no path)."""
        _, version, answer = await self._scripts.run("get", _key(pair))
        if not answer:
            return str(version), None, False
        return str(version), _decode(str(answer)), True

    async def put(self, pair: tuple[str, str], version: str, path: StoredPath | None, ttl_s: float) -> bool:
        """Keep an answer unless something was or is being written since its version; tells whether it is kept."""
        answer = _encode(path)
        if len(answer) > ANSWER_BYTES_MAX:
            return False
        said = await self._scripts.run("put", _key(pair), version, answer, str(round(ttl_s * 1000)))
        return str(said[0]) == "ok"

    async def begin_write(self, token: str, lease_s: float) -> None:
        """Announce a write, or prolong its announcement."""
        await self._scripts.run("begin", token, str(round(lease_s * 1000)))

    async def end_write(self, token: str, revision: str = "") -> None:
        """Take the announcement of a write back. `revision`, read after the write, is noted as seen; see `see`."""
        await self._scripts.run("end", token, revision)

    async def see(self, revision: str) -> bool:
        """Note the revision of the store behind; tells whether it moved, which makes a new version."""
        return str((await self._scripts.run("seen", revision))[0]) == "moved"

    async def check(self) -> None:
        """Ask for a sign of life."""
        await self._scripts.command("PING")

    async def close(self) -> None:
        """Close the connections."""
        await self._scripts.close()


def _key(pair: tuple[str, str]) -> str:
    start, goal = pair
    return hashlib.blake2b(f"{start}\n{goal}".encode(), digest_size=16).hexdigest()


def _encode(path: StoredPath | None) -> str:
    return orjson.dumps(None if path is None else [path.nodes, path.step_costs, path.cost]).decode()


def _decode(text: str) -> StoredPath | None:
    value = orjson.loads(text)
    return None if value is None else StoredPath(*value)
