"""Real servers for the benchmark of stores, started by `tests.servers`, with the URLs to measure."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import psutil
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from planmesh.local.ports import free_port
from planmesh.local.redis_server import prepare_private_redis
from tests.servers.gremlin_servers import GremlinServer
from tests.servers.java_server import Reaper
from tests.servers.neo4j_server import USER, Neo4jServer

MEBIBYTE: Final = 2**20


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store keeps a graph: loaded by the first URL, then measured by each. No URL contains a password.

    `disk` is the folder of the store's files, None for a store in memory; `pid` is the server's, 0 without a server.
    """

    urls: dict[str, str]
    disk: Path | None = None
    pid: int = 0
    front: list[int] = field(default_factory=list)
    """Pids of further servers."""

    def memory_mb(self) -> float:
        """Return the memory used by the servers."""
        pids = [self.pid, *self.front] if self.pid else []
        return sum(float(psutil.Process(pid).memory_info().rss) for pid in pids) / MEBIBYTE

    def disk_mb(self) -> float:
        """Return the size of the store's files."""
        if self.disk is None:
            return 0.0
        files = [self.disk] if self.disk.is_file() else [path for path in self.disk.rglob("*") if path.is_file()]
        return sum(path.stat().st_size for path in files) / MEBIBYTE


@contextmanager
def sqlite_place(folder: Path) -> Iterator[Place]:
    """Yield a SQLite file; the database runs in the querying process."""
    file = folder / "graph.db"
    yield Place({"sqlite": f"sqlite:///{file}"}, disk=file)


@contextmanager
def redis_place(folder: Path) -> Iterator[Place]:
    """Run a private redis-server."""
    with _redis(folder) as (url, pid):
        yield Place({"redis": f"{url}&graph=bench"}, pid=pid)


@contextmanager
def neo4j_place(folder: Path) -> Iterator[Place]:
    """Run Neo4j, queried through Graph Data Science and APOC, and with a Redis in front."""
    password = secrets.token_urlsafe(16)
    with Reaper() as reaper, Neo4jServer(folder / "neo4j", reaper, password, tls=False) as server:
        address = f"bolt://{USER}@{server.address}?password_file={_secret(folder / 'neo4j-password', password)}"
        with _redis(folder / "front") as (front, front_pid):
            hybrid = f"hybrid://?front={quote(f'{front}&graph=front', safe='')}&back={quote(address, safe='')}"
            urls = {
                "neo4j-gds": f"{address}&path_finder=gds",
                "hybrid": hybrid,
                "neo4j-apoc": f"{address}&path_finder=apoc",
            }
            yield Place(urls, disk=server.folder / "data" / "databases", pid=server.pid, front=[front_pid])


@contextmanager
def gremlin_place(folder: Path) -> Iterator[Place]:
    """Run Apache TinkerPop's Gremlin Server with a TinkerGraph."""
    with Reaper() as reaper, GremlinServer(folder / "gremlin", reaper) as server:
        yield Place({"gremlin": server.url}, pid=server.pid)


PLACES: Final[dict[str, Callable[[Path], AbstractContextManager[Place]]]] = {
    "sqlite": sqlite_place,
    "redis": redis_place,
    "neo4j": neo4j_place,
    "gremlin": gremlin_place,
}


@contextmanager
def _redis(folder: Path) -> Iterator[tuple[str, int]]:
    """Run a redis-server, and yield its URL, without a password, and its pid."""
    folder.mkdir(exist_ok=True)
    prepared = prepare_private_redis(folder, free_port())
    process = subprocess.Popen(prepared.command, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis.from_url(prepared.url, retry=Retry(ConstantBackoff(0.05), 200)) as client:
            client.ping()
        url = urlsplit(prepared.public_url)
        secret = _secret(folder / "redis-password", prepared.password)
        yield f"{url.scheme}://{url.netloc}{url.path}?password_file={secret}", process.pid
    finally:
        process.terminate()
        process.wait()


def _secret(path: Path, password: str) -> Path:
    """Write a password to a file that only its owner can read."""
    path.touch(mode=0o600)
    path.write_text(password, "utf-8")
    return path
