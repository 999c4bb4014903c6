"""Fixtures: one server of each kind for a whole test run, and a reaper for servers that a test starts itself.

A server starts when the first test requests it. A test that uses one gets its own section of it (a database's label, a
property's name), or empties it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.servers.gremlin_servers import GremlinServer, JanusGraphServer
from tests.servers.java_server import Reaper
from tests.servers.neo4j_server import Neo4jServer


@pytest.fixture(scope="session")
def reaper() -> Iterator[Reaper]:
    """Kills the servers of this run when the run itself is killed."""
    with Reaper() as reaper:
        yield reaper


@pytest.fixture(scope="session")
def neo4j_server(reaper: Reaper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neo4jServer]:
    """Neo4j with Graph Data Science and APOC. Its password begins like an option, to catch careless command lines."""
    with Neo4jServer(tmp_path_factory.mktemp("neo4j"), reaper, f"-{secrets.token_urlsafe(16)}") as server:
        yield server


@pytest.fixture(scope="session")
def gremlin_server(reaper: Reaper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GremlinServer]:
    """Gremlin Server, without credentials."""
    with GremlinServer(tmp_path_factory.mktemp("gremlin"), reaper) as server:
        yield server


@pytest.fixture(scope="session")
def secure_gremlin_server(reaper: Reaper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GremlinServer]:
    """Gremlin Server with TLS and a password."""
    with GremlinServer(tmp_path_factory.mktemp("secure-gremlin"), reaper, secure=True) as server:
        yield server


@pytest.fixture(scope="session")
def janusgraph_server(reaper: Reaper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JanusGraphServer]:
    """JanusGraph in memory, without credentials."""
    with JanusGraphServer(tmp_path_factory.mktemp("janusgraph"), reaper) as server:
        yield server
