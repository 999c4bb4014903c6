"""The connection to Redis, and the scripts that run there."""

from __future__ import annotations

import hashlib
import secrets
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, Final

import redis.asyncio
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from planmesh.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidRequest,
    PlanmeshError,
    StoreCredentials,
    StoreRefused,
    StoreUnavailable,
)
from planmesh.store.urls import StoreUrl

BUCKETS: Final = 1_024
"""Hashes over which a graph's nodes are spread, so that each is read in one step: 10,000 of ten million nodes."""

RETRIES_MAX: Final = 2
"""Times that a request is repeated when its connection breaks; running a script twice does no harm."""

RETRY_FIRST_S: Final = 0.05
RETRY_LAST_S: Final = 0.5

PORT_DEFAULT: Final = 6_379

_CREDENTIALS: Final = ("WRONGPASS", "NOAUTH", "NOPERM", "invalid username-password", "without any password configured")
_AWAY: Final = ("LOADING", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN")


class RedisScripts:
    """Runs the scripts of one graph. A script's answer is a list whose first item is its outcome."""

    def __init__(
        self,
        location: StoreUrl,
        graph: str,
        timeout_s: float,
        connect_timeout_s: float,
        *,
        scripts: str = "planmesh.store.redis",
    ) -> None:
        """`scripts` is the package whose folder `lua` holds the scripts; its `common.lua`, if any, precedes each."""
        self._location = location
        self._package = scripts
        self._timeout_s = timeout_s
        self.tag = f"{{planmesh:{graph}}}"
        self.head = f"{self.tag}:head"
        self.client = _connect(location, timeout_s, connect_timeout_s)
        self._sources: dict[str, tuple[str, str]] = {}

    async def run(self, script: str, *arguments: str, head: str = "") -> list[Any]:
        """Run a script on the head of the graph, or on the key `head`."""
        source, digest = self._source(script)
        keys = (head or self.head, self.tag, secrets.token_hex(8), *arguments)
        with self.errors():
            try:
                answer: list[Any] = await self.client.evalsha(digest, 1, *keys)
            except exceptions.NoScriptError:
                answer = await self.client.eval(source, 1, *keys)
        return answer

    async def command(self, *words: str) -> Any:
        """Send a command to the server that holds the graph's head."""
        with self.errors():
            if isinstance(self.client, redis.asyncio.RedisCluster):
                await self.client.initialize()
                node = self.client.get_node_from_key(self.head)
                return await self.client.execute_command(*words, target_nodes=node)
            return await self.client.execute_command(*words)  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Close all connections."""
        await self.client.aclose()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate the driver's errors into planmesh's, without any secret."""
        try:
            yield
        except PlanmeshError:
            raise
        except (exceptions.RedisError, exceptions.RedisClusterException, OSError) as error:
            raise self._named(error) from error

    def _named(self, error: Exception) -> PlanmeshError:
        reason = self._location.hide(str(error))
        store = self._location.text
        if isinstance(error, exceptions.AuthenticationError) or any(word in reason for word in _CREDENTIALS):
            return StoreCredentials(reason, store=store)
        if isinstance(error.__cause__ or error.__context__, ssl.SSLError) or isinstance(error, ssl.SSLError):
            return StoreCredentials(f"TLS could not be agreed on: {reason}", store=store)
        if isinstance(error, exceptions.TimeoutError) and "connecting" not in reason:
            return DeadlineExceeded(f"{store}: no answer within {self._timeout_s:g} s")
        if isinstance(error, exceptions.ResponseError) and not any(reason.startswith(word) for word in _AWAY):
            return StoreRefused(reason, store=store)
        return StoreUnavailable(reason or type(error).__name__, store=store)

    def _source(self, script: str) -> tuple[str, str]:
        known = self._sources.get(script)
        if known is None:
            folder = files(self._package) / "lua"
            common = folder / "common.lua"
            text = (common.read_text() if common.is_file() else "") + (folder / f"{script}.lua").read_text()
            known = (text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
            self._sources[script] = known
        return known

    def lost(self) -> Conflict:
        """Return the error of a replacement that another one displaced."""
        return Conflict(f"{self._location.text}: another replacement of this graph took over; start again")


def bucket_ranges(rows: int, rows_per_request: int) -> Sequence[tuple[int, int]]:
    """Return the first and last bucket of each request that reads a graph of `rows` rows."""
    per_request = max(1, min(BUCKETS, BUCKETS * rows_per_request // max(rows, 1)))
    return [(first, min(first + per_request, BUCKETS) - 1) for first in range(0, BUCKETS, per_request)]


def _connect(
    location: StoreUrl, timeout_s: float, connect_timeout_s: float
) -> redis.asyncio.Redis | redis.asyncio.RedisCluster:
    database = location.path.strip("/") or "0"
    if not database.isdecimal() or len(database) > 5:
        raise InvalidRequest(f"{location.text}: expected the number of a database after the /", field="store")
    common: dict[str, Any] = {
        "host": location.host or "127.0.0.1",
        "port": location.port or PORT_DEFAULT,
        "username": location.user or None,
        "password": location.password.get_secret_value() or None,
        "decode_responses": True,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": connect_timeout_s,
        "socket_keepalive": True,
        "ssl": location.scheme.startswith("rediss"),
    }
    if location.scheme.endswith("+cluster"):
        if database != "0":
            raise InvalidRequest(f"{location.text}: a cluster has only database 0", field="store")
        return redis.asyncio.RedisCluster(**common)
    # redis-py's time-outs are not connection errors there, so a slow script is not repeated.
    retry = Retry(
        ExponentialBackoff(RETRY_LAST_S, RETRY_FIRST_S), RETRIES_MAX, supported_errors=(exceptions.ConnectionError,)
    )
    return redis.asyncio.Redis(**common, db=int(database), retry=retry, retry_on_error=[exceptions.ConnectionError])
