"""Every kind of store, each with a fixture `<kind>_store_url`: the URL of an empty store for one test."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

from planmesh.store.protocol import GraphStore
from planmesh.store.urls import open_store
from tests.conftest import RedisServer
from tests.servers.gremlin_servers import GremlinServer, JanusGraphServer
from tests.servers.neo4j_server import Neo4jServer

KINDS: Final = [
    "sqlite",
    "redis",
    "hybrid",
    pytest.param("neo4j", marks=pytest.mark.stores),
    pytest.param("neo4j_in_batches", marks=pytest.mark.stores),
    pytest.param("gremlin", marks=pytest.mark.stores),
    pytest.param("janusgraph", marks=pytest.mark.stores),
    pytest.param("cosmosdb_scripts", marks=pytest.mark.stores),
]


LEFT_OUT: Final = {
    "neo4j_in_batches": {
        *("test_stored_rows_give_the_same_plans", "test_rows_come_back_bit_by_bit"),
        *("test_batches_have_the_effect_of_a_model", "test_the_bounds_of_a_batch"),
    },
    "cosmosdb_scripts": {
        *("test_stored_rows_give_the_same_plans", "test_many_batches", "test_the_bounds_of_a_batch"),
    },
}
"""Long tests that would add nothing for another protocol to the same server."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [
        item
        for item in items
        if isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and item.originalname in LEFT_OUT.get(str(item.callspec.params.get("store_url")), ())
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def sqlite_store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'graph.db'}"


@pytest.fixture
def neo4j_store_url(neo4j_server: Neo4jServer) -> str:
    neo4j_server.empty()
    return neo4j_server.url


@pytest.fixture
def neo4j_in_batches_store_url(neo4j_store_url: str) -> str:
    """Replacements in several transactions, as for a large graph."""
    return f"{neo4j_store_url}?atomic_rows_max=0&batch_rows=1000"


@pytest.fixture
def redis_store_url(shared_redis: RedisServer) -> str:
    return f"{shared_redis.url}?graph={secrets.token_hex(4)}"


@pytest.fixture
def hybrid_store_url(redis_store_url: str, sqlite_store_url: str) -> str:
    """Redis before SQLite; every pair is hot immediately."""
    return f"hybrid://?front={quote(redis_store_url, safe='')}&back={quote(sqlite_store_url, safe='')}&hot_threshold=1"


@pytest.fixture
def gremlin_store_url(gremlin_server: GremlinServer) -> str:
    gremlin_server.empty()
    return gremlin_server.url


@pytest.fixture
def janusgraph_store_url(janusgraph_server: JanusGraphServer) -> str:
    janusgraph_server.empty()
    return f"{janusgraph_server.url}?dialect=janusgraph"


@pytest.fixture
def cosmosdb_scripts_store_url(gremlin_server: GremlinServer) -> str:
    """The requests that Cosmos DB gets, on a server that also takes scripts."""
    gremlin_server.empty()
    return f"{gremlin_server.url}?dialect=cosmosdb&endpoint=/gremlin"


@pytest.fixture(params=KINDS)
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store; opening it twice gives the same store."""
    url: str = request.getfixturevalue(f"{request.param}_store_url")
    return url


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[GraphStore]:
    opened = await open_store(store_url)
    yield opened
    await opened.close()
