"""Batches of changes in Neo4j beside replacements that are put in place in steps."""

from __future__ import annotations

import pytest

from planmesh.errors import Conflict
from planmesh.store.neo4j.statements import MARKER
from tests.servers.neo4j_server import Neo4jServer
from tests.store.contract.changed import changes, state_of
from tests.store.contract.rows import fill
from tests.store.opened import opened

pytestmark = pytest.mark.stores

PLAIN = ("", "")


@pytest.fixture
def url(neo4j_server: Neo4jServer) -> str:
    neo4j_server.empty()
    return f"{neo4j_server.url}?atomic_rows_max=0"


@pytest.mark.parametrize("old_marker", [True, False], ids=["of-an-older-planmesh", "with-a-position"])
async def test_a_replacement_that_another_one_completes_has_its_own_position(
    url: str, neo4j_server: Neo4jServer, old_marker: bool
) -> None:
    """Until it is complete, the graph has no position and takes no changes."""
    async with opened(url) as store:
        await store.apply_changes(changes(7, upserted={"a": PLAIN}))
        with neo4j_server.session() as session:
            position = "" if old_marker else ", position: 30"
            session.run(
                "CREATE (:Node__next {id: 'c'}) "
                f"CREATE (:{MARKER} {{label: 'Node', token: 'of the dead', step: 0{position}}})"
            ).consume()
        for refused in (store.position(), store.apply_changes(changes(8))):
            with pytest.raises(Conflict, match="is being put in place, or failed there"):
                await refused
        async with store.replace(position=99):
            pass  # it completes the other one, and is not committed itself
        assert await state_of(store) == ({"c": PLAIN}, {}, 0 if old_marker else 30)


async def test_a_replacement_that_was_only_staged_leaves_the_position(url: str, neo4j_server: Neo4jServer) -> None:
    async with opened(url) as store:
        await store.apply_changes(changes(7, upserted={"a": PLAIN}))
        with neo4j_server.session() as session:
            session.run(
                "CREATE (:Node__next {id: 'c'}) "
                f"CREATE (:{MARKER} {{label: 'Node', token: 'of the dead', step: -1, position: 30}})"
            ).consume()
        await store.apply_changes(changes(8, upserted={"b": PLAIN}))
        async with store.replace(position=99):
            pass
        assert await state_of(store) == ({"a": PLAIN, "b": PLAIN}, {}, 8)


async def test_graphs_of_one_database_have_positions_of_their_own(url: str) -> None:
    async with opened(url) as one, opened(f"{url}&label=Other") as other:
        await one.apply_changes(changes(5, upserted={"a": PLAIN}))
        await other.apply_changes(changes(2, upserted={"b": PLAIN}))
        assert await state_of(one) == ({"a": PLAIN}, {}, 5)
        assert await state_of(other) == ({"b": PLAIN}, {}, 2)


async def test_a_user_who_creates_no_schema_applies_changes(url: str) -> None:
    async with opened(url):
        pass  # creates the constraints
    async with opened(f"{url}&schema_create=false") as store:
        await fill(store, ["a"], [])
        await store.apply_changes(changes(1, recreated={"a": ("d", "")}))
        assert await state_of(store) == ({"a": ("d", "")}, {}, 1)
