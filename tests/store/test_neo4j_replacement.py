"""The lock of a replacement in Neo4j, with a simulated server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from planmesh.errors import Conflict
from planmesh.store.neo4j import replacement as replacements
from planmesh.store.neo4j.connection import Connection
from planmesh.store.neo4j.options import Neo4jOptions
from planmesh.store.neo4j.replacement import Neo4jReplacement
from planmesh.store.neo4j.statements import Statements
from planmesh.store.urls import parse_store_url


class SlowServer:
    """A connection on which a statement that was not rehearsed never ends, nor a wait for a lock that is held."""

    def __init__(self) -> None:
        self.location = parse_store_url("neo4j://host")
        self.options = Neo4jOptions()
        self.rehearsed = False
        self.held: set[str] = set()
        self.labels: list[str] = []

    async def require_constraints(self, _statements: Statements) -> None:
        pass

    async def read(self, _work: object) -> bool:
        return False

    async def rehearse(self, statement: str, parameters: Mapping[str, Any]) -> None:
        self.rehearsed = True
        async with self.hold(statement, parameters):
            pass

    @asynccontextmanager
    async def hold(self, _statement: str, parameters: Mapping[str, Any]) -> AsyncIterator[None]:
        label = parameters["label"]
        if not self.rehearsed or label in self.held:
            await asyncio.Event().wait()
        self.held.add(label)
        self.labels.append(label)
        try:
            yield
        finally:
            self.held.remove(label)


def replacement_on(server: SlowServer) -> Neo4jReplacement:
    return Neo4jReplacement(cast(Connection, server), Statements(server.options))


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacements, "LOCK_WAIT_S", 0.01)


async def test_a_cold_server_is_not_a_conflict() -> None:
    server = SlowServer()
    replacement = replacement_on(server)
    await replacement.begin()
    assert server.held == {server.options.label}
    await replacement.close()
    assert not server.held


async def test_a_lock_that_another_replacement_holds_is_a_conflict() -> None:
    server = SlowServer()
    first, second = replacement_on(server), replacement_on(server)
    await first.begin()
    with pytest.raises(Conflict, match="another replacement of the nodes labelled Node is under way"):
        await second.begin()
    await second.close()
    await first.close()
    assert len(set(server.labels)) == len(server.labels) == 3, "each rehearses under its own label"
