"""Behaviour specific to Neo4j: credentials, TLS, a server that is down or breaks off, foreign graphs, patterns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from planmesh.chaos.cutting_proxy import CuttingProxy, cutting_proxy
from planmesh.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidGraph,
    LimitExceeded,
    PatternRefused,
    PlanmeshError,
    StoreCredentials,
    StoreRefused,
    StoreUnavailable,
)
from planmesh.local.ports import free_port
from planmesh.store.neo4j.statements import LOCK, MARKER
from planmesh.store.protocol import PatternLimits
from planmesh.store.urls import open_store
from tests.servers.certificate import make_certificate
from tests.servers.neo4j_server import Neo4jServer
from tests.store.contract.rows import contents, fill, node_rows
from tests.store.opened import full_text, opened, read_until_cut

pytestmark = pytest.mark.stores

WRONG = "not-the-password"
"""A traceback quotes executed lines of this file, so secrets must not be on any of them."""

SMALL = (["a", "b"], [("a", "b", 1.0)])


@pytest.fixture
def url(neo4j_server: Neo4jServer) -> str:
    neo4j_server.empty()
    return neo4j_server.url


@pytest.fixture
async def proxied(neo4j_server: Neo4jServer) -> AsyncIterator[tuple[CuttingProxy, str]]:
    """A proxy before the server, and the URL of an empty store through it, with a time-out of four seconds."""
    neo4j_server.empty()
    async with cutting_proxy("127.0.0.1", neo4j_server.port) as proxy:
        yield proxy, f"bolt://neo4j:{neo4j_server.password}@127.0.0.1:{proxy.port}?timeout_s=4&connect_timeout_s=2"


async def test_wrong_credentials(neo4j_server: Neo4jServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(StoreCredentials, match="refuses our credentials") as raised:
        await open_store(f"bolt://neo4j:{WRONG}@{neo4j_server.address}")
    assert "Unauthorized" in str(raised.value)
    assert WRONG not in full_text(raised.value)
    assert WRONG not in caplog.text
    with pytest.raises(StoreCredentials):
        await open_store(f"bolt://{neo4j_server.address}")


async def test_a_user_who_must_change_the_password_first(neo4j_server: Neo4jServer) -> None:
    with neo4j_server.session() as session:
        session.run("CREATE OR REPLACE USER fresh SET PASSWORD $password CHANGE REQUIRED", password=WRONG).consume()
    with pytest.raises(StoreCredentials, match="CredentialsExpired") as raised:
        await open_store(f"bolt://fresh:{WRONG}@{neo4j_server.address}")
    assert WRONG not in full_text(raised.value)


async def test_an_unknown_database(neo4j_server: Neo4jServer) -> None:
    with pytest.raises(PlanmeshError, match="nowhere"):
        await open_store(f"{neo4j_server.url}/nowhere?timeout_s=4")


async def test_tls(neo4j_server: Neo4jServer, tmp_path: Path) -> None:
    """With any certificate, with a given one, and with one that cannot be trusted."""
    account = f"neo4j:{neo4j_server.password}@{neo4j_server.address}"
    assert neo4j_server.certificate is not None
    for trusting in (f"bolt+ssc://{account}", f"bolt+s://{account}?ca_file={neo4j_server.certificate.public}"):
        async with opened(trusting) as store:
            assert (await store.health()).server.startswith("Neo4j/5.")
    other = make_certificate(tmp_path, "any").public
    for refusing in (f"bolt+s://{account}?timeout_s=4", f"bolt+s://{account}?timeout_s=4&ca_file={other}"):
        with pytest.raises(StoreCredentials, match=r"TLS could not be agreed on.*certificate") as raised:
            await open_store(refusing)
        assert neo4j_server.password not in full_text(raised.value)


async def test_a_server_without_tls(neo4j_server: Neo4jServer) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    plain = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = plain.sockets[0].getsockname()[1]
    with pytest.raises(StoreCredentials, match="TLS could not be agreed on"):
        await open_store(f"bolt+ssc://neo4j:secret@127.0.0.1:{port}?timeout_s=4")
    plain.close()
    await plain.wait_closed()


async def test_a_server_that_is_down_at_the_start() -> None:
    with pytest.raises(StoreUnavailable, match="cannot be reached") as raised:
        await open_store(f"bolt://neo4j:{WRONG}@127.0.0.1:{free_port()}?timeout_s=4")
    assert WRONG not in full_text(raised.value)


async def test_routing(neo4j_server: Neo4jServer) -> None:
    neo4j_server.empty()
    async with opened(neo4j_server.url.replace("bolt://", "neo4j://")) as store:
        await fill(store, *SMALL)
        assert await contents(store) == ({"a": ("", ""), "b": ("", "")}, {("a", "b"): 1.0})


async def test_a_cut_between_requests_goes_unnoticed(proxied: tuple[CuttingProxy, str]) -> None:
    proxy, url = proxied
    async with opened(url) as store:
        await fill(store, *SMALL)
        proxy.cut()
        await store.upsert_nodes(node_rows(["c"]))
        proxy.cut()
        assert len((await contents(store))[0]) == 3


async def test_a_cut_during_a_replacement_leaves_the_old_graph(proxied: tuple[CuttingProxy, str]) -> None:
    proxy, url = proxied
    many = [f"n{number}" for number in range(20_000)]
    async with opened(url) as store:
        await fill(store, *SMALL)

        async def replace() -> None:
            async with store.replace() as replacement:
                await replacement.add_nodes(node_rows(many))
                proxy.cut_after_bytes = 50_000
                proxy.refuses = True
                await replacement.commit()

        with pytest.raises(StoreUnavailable):
            await replace()
        proxy.restore()
        assert await contents(store) == ({"a": ("", ""), "b": ("", "")}, {("a", "b"): 1.0})
        await fill(store, many, [])
        assert (await store.counts()).nodes == 20_000


async def test_a_cut_during_a_reading(proxied: tuple[CuttingProxy, str]) -> None:
    proxy, url = proxied
    with pytest.raises(StoreUnavailable):
        await read_until_cut(proxy, url)
    assert proxy.refuses, "the connection was cut during the reading"


async def test_a_silent_server_ends_with_the_deadline(proxied: tuple[CuttingProxy, str]) -> None:
    proxy, url = proxied
    async with opened(url.replace("timeout_s=4", "timeout_s=1", 1)) as store:
        proxy.silent = True
        with pytest.raises((DeadlineExceeded, StoreUnavailable)):
            await store.counts()
        proxy.restore()
        proxy.cut()
        assert (await store.counts()).nodes == 0


async def test_a_replacement_that_failed_halfway_is_completed(url: str, neo4j_server: Neo4jServer) -> None:
    """The replacement of a process that died halfway: its marker, staged nodes, and an old graph that is half gone."""
    async with opened(f"{url}?atomic_rows_max=0") as store:
        await fill(store, {"a": ("old", ""), "b": ("old", ""), "gone": ("", "")}, [("a", "b", 1.0), ("a", "gone", 1.0)])
        with neo4j_server.session() as session:
            session.run("MATCH (n:Node {id: 'gone'}) DETACH DELETE n").consume()
            session.run(
                "CREATE (a:Node__next {id: 'a', domain: 'new'})-[:EDGE {cost: 7.0}]->(c:Node__next {id: 'c'}) "
                f"CREATE (:{MARKER} {{label: 'Node', token: 'of the dead', step: 1}})"
            ).consume()
        with pytest.raises(Conflict, match="being put in place"):
            await contents(store)
        async with store.replace():
            pass
        assert (await contents(store))[1] == {("a", "c"): 7.0}
        with neo4j_server.session() as session:
            left = session.run(f"MATCH (n) WHERE n:{MARKER} OR n:{LOCK} OR n:Node__next RETURN count(n)").single()
            assert left is not None
            assert left[0] == 0


async def test_other_properties_of_a_node_stay(url: str, neo4j_server: Neo4jServer) -> None:
    for rows_max in (200_000, 0):
        neo4j_server.empty()
        async with opened(f"{url}?atomic_rows_max={rows_max}") as store:
            await fill(store, ["a", "b", "c"], [("a", "b", 1.0), ("b", "c", 1.0)])
            with neo4j_server.session() as session:
                session.run("MATCH (n:Node {id: 'a'}) SET n:Host, n.owner = 'ops' CREATE (n)-[:IN]->(:Rack)").consume()
            await fill(store, {"a": ("d", "r"), "b": ("", ""), "x": ("", "")}, [("a", "b", 2.0), ("x", "a", 3.0)])
            assert await contents(store) == (
                {"a": ("d", "r"), "b": ("", ""), "x": ("", "")},
                {("a", "b"): 2.0, ("x", "a"): 3.0},
            )
            answer = await store.match_pattern(
                "MATCH (n:Host {id: $id})-[:IN]->(:Rack) RETURN n", {"id": "a"}, PatternLimits()
            )
            [[node]] = answer.rows
            assert node["properties"]["owner"] == "ops"


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        ("CREATE (:Node {name: 'no id'})", "expected a text as property id, got none"),
        ("CREATE (:Node {id: 77})", "expected a text as property id, got int 77"),
        ("CREATE (:Node {id: 'a', domain: 5})", "node 'a': expected a text as property domain, got int 5"),
        (
            "CREATE (:Node {id: 'a'})-[:EDGE]->(:Node {id: 'b'})",
            "from 'a' to 'b' .*: expected a number .*cost, got none",
        ),
        ("CREATE (:Node {id: 'a'})-[:EDGE {cost: 'x'}]->(:Node {id: 'b'})", "property cost, got str 'x'"),
        ("CREATE (:Node {id: 'a'})-[:EDGE {cost: true}]->(:Node {id: 'b'})", "property cost, got bool True"),
        ("CREATE (:Node {id: 'a'})-[:EDGE {cost: -1}]->(:Node {id: 'b'})", "finite cost from 0"),
        ("CREATE (:Node {id: 'a'})-[:EDGE {cost: 0.0/0.0}]->(:Node {id: 'b'})", "finite cost from 0"),
    ],
    ids=["no-id", "number-as-id", "number-as-domain", "no-cost", "text-as-cost", "truth-as-cost", "negative", "nan"],
)
async def test_a_graph_that_cannot_be_read(url: str, neo4j_server: Neo4jServer, made: str, complaint: str) -> None:
    with neo4j_server.session() as session:
        session.run(made).consume()
    async with opened(url) as store:
        with pytest.raises(InvalidGraph, match=complaint):
            await contents(store)


async def test_a_graph_with_other_names(url: str, neo4j_server: Neo4jServer) -> None:
    with neo4j_server.session() as session:
        session.run(
            "CREATE (:Host {name: 'a', zone: 'z'})-[:LEADS_TO {ms: 3}]->(:Host {name: 'b'}), (:Other {name: 'c'})"
        ).consume()
    names = "label=Host&edge_type=LEADS_TO&id_property=name&region_property=zone&cost_property=ms"
    async with opened(f"{url}?{names}") as store:
        assert await contents(store) == ({"a": ("", "z"), "b": ("", "")}, {("a", "b"): 3.0})
        assert (await store.shortest_path("a", "b")).step_costs == [3.0]


async def test_duplicate_ids_of_other_clients(url: str, neo4j_server: Neo4jServer) -> None:
    with neo4j_server.session() as session:
        session.run("CREATE (:Twice {id: 'a'}), (:Twice {id: 'a'})").consume()
    with pytest.raises(StoreRefused, match="ConstraintCreationFailed"):
        await open_store(f"{url}?label=Twice")


@pytest.mark.parametrize(
    "query",
    [
        "CREATE (n:Node {id: 'evil'}) RETURN n",
        "MATCH (n) SET n.x = 1 RETURN n",
        "MATCH (n) DETACH DELETE n",
        "CREATE INDEX FOR (n:Node) ON (n.x)",
        "CALL db.createLabel('Evil')",
        "CREATE USER evil SET PASSWORD 'evil-password'",
        "MATCH (n) CALL apoc.create.setProperty(n, 'x', 1) YIELD node RETURN node",
        "MATCH (n RETURN n",
        "RETURN $missing",
        "CALL no.such.procedure()",
    ],
)
async def test_patterns_that_are_refused(url: str, neo4j_server: Neo4jServer, query: str) -> None:
    async with opened(url) as store:
        await fill(store, *SMALL)
        before = await store.revision()
        with pytest.raises(PatternRefused, match=r"\(Neo\.ClientError\."):
            await store.match_pattern(query, {}, PatternLimits())
        assert await store.revision() == before
    with neo4j_server.session() as session:
        users = session.run("SHOW USERS YIELD user RETURN collect(user)").single()
        assert users is not None
        assert "evil" not in users[0]


async def test_patterns(url: str) -> None:
    async with opened(url) as store:
        await fill(store, {"a": ("d", ""), "b": ("", "")}, [("a", "b", 1.5)])
        answer = await store.match_pattern(
            "MATCH path = (n:Node {id: $id})-[r:EDGE]->(m) "
            "RETURN n, r, path, m.id AS other, date('2026-01-02') AS day, [1, {x: null}] AS list, 0.5 AS half",
            {"id": "a"},
            PatternLimits(),
        )
        assert answer.columns == ["n", "r", "path", "other", "day", "list", "half"]
        node: dict[str, Any] = {"labels": ["Node"], "properties": {"id": "a", "domain": "d"}}
        edge = {"type": "EDGE", "properties": {"cost": 1.5}}
        other = {"labels": ["Node"], "properties": {"id": "b"}}
        whole = {"nodes": [node, other], "relationships": [edge]}
        assert answer.rows == [[node, edge, whole, "b", "2026-01-02", [1, {"x": None}], 0.5]]


async def test_limits_of_patterns(url: str) -> None:
    numbers = "UNWIND range(1, $count) AS number RETURN number"
    async with opened(url) as store:
        assert len((await store.match_pattern(numbers, {"count": 10}, PatternLimits(rows_max=10))).rows) == 10
        with pytest.raises(LimitExceeded, match="more than 10 rows"):
            await store.match_pattern(numbers, {"count": 11}, PatternLimits(rows_max=10))
        with pytest.raises(LimitExceeded, match="larger than 100 bytes"):
            await store.match_pattern(numbers, {"count": 200}, PatternLimits(bytes_max=100))
        endless = "UNWIND range(1, 1000000000) AS one UNWIND range(1, 1000000) AS other RETURN sum(one + other)"
        with pytest.raises(DeadlineExceeded):
            await store.match_pattern(endless, {}, PatternLimits(timeout_s=0.5))
        assert (await store.health()).latency_s > 0
