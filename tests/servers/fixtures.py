"""Fixtures: one server of a kind for a whole test run, and a reaper for servers that a test starts for itself.

They start when the first test asks for them. A test that needs a server gets its own part of it (a database's label, a
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
    """Ends what this run started when the run is killed."""
    with Reaper() as reaper:
        yield reaper


@pytest.fixture(scope="session")
def neo4j_server(reaper: Reaper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neo4jServer]:
    """Neo4j with Graph Data Science and APOC. Its password looks like an option to a command that is not careful."""
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
