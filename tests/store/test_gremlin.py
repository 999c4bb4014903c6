"""Behaviour specific to Gremlin: credentials, TLS, a server that is down or breaks off, foreign graphs, Neptune."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from planmesh.chaos.cutting_proxy import CuttingProxy, cutting_proxy
from planmesh.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidGraph,
    InvalidRequest,
    PatternsUnsupported,
    StoreCredentials,
    StoreRefused,
    StoreUnavailable,
)
from planmesh.local.ports import free_port
from planmesh.store.protocol import PatternLimits
from planmesh.store.urls import open_store
from tests.servers.certificate import make_certificate
from tests.servers.gremlin_servers import PASSWORD, USER, GremlinServer, JanusGraphServer
from tests.store.contract.rows import contents, edge_rows, fill, node_rows
from tests.store.opened import full_text, opened, read_until_cut
from tests.store.signature_checking_server import signature_checking_server

pytestmark = pytest.mark.stores

WRONG = "not-the-password"
"""A traceback quotes executed lines of this file, so secrets must not be on any of them."""

SMALL = (["a", "b"], [("a", "b", 1.0)])
REGION = "eu-central-1"
ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "the-secret-key-of-tests"


@pytest.fixture
def url(gremlin_server: GremlinServer) -> str:
    gremlin_server.empty()
    return gremlin_server.url


@pytest.fixture
async def proxied(gremlin_server: GremlinServer) -> AsyncIterator[tuple[CuttingProxy, str]]:
    """A proxy before the server, and the URL of an empty store through it, with a time-out of four seconds."""
    gremlin_server.empty()
    async with cutting_proxy("127.0.0.1", gremlin_server.port) as proxy:
        yield proxy, f"gremlin://127.0.0.1:{proxy.port}/g?timeout_s=4&connect_timeout_s=2"


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Hides AWS credentials from every place where botocore looks for them."""
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_DEFAULT_REGION",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/credentials")
    return monkeypatch


async def test_password_and_tls(secure_gremlin_server: GremlinServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert secure_gremlin_server.certificate is not None
    trusting = f"{secure_gremlin_server.address}/g?ca_file={secure_gremlin_server.certificate.public}&timeout_s=10"
    async with opened(f"gremlin+wss://{USER}:{PASSWORD}@{trusting}") as store:
        await fill(store, *SMALL)
        assert (await contents(store))[1] == {("a", "b"): 1.0}
    with pytest.raises(StoreCredentials, match="refuses our credentials") as raised:
        await open_store(f"gremlin+wss://{USER}:{WRONG}@{trusting}")
    assert WRONG not in full_text(raised.value)
    with pytest.raises(StoreCredentials, match="the URL has none"):
        await open_store(f"gremlin+wss://{trusting}")
    assert WRONG not in caplog.text
    assert PASSWORD not in caplog.text


async def test_nothing_is_open_after_close_with_tls(secure_gremlin_server: GremlinServer) -> None:
    assert secure_gremlin_server.certificate is not None
    trusting = f"{secure_gremlin_server.address}/g?ca_file={secure_gremlin_server.certificate.public}&timeout_s=10"
    port = secure_gremlin_server.port

    def connections() -> int:
        return sum(1 for one in psutil.Process().net_connections("tcp") if one.raddr and one.raddr.port == port)

    for _ in range(3):
        async with opened(f"gremlin+wss://{USER}:{PASSWORD}@{trusting}") as store:
            await store.counts()
            assert connections() == 1
        assert connections() == 0
    with pytest.raises(StoreCredentials, match="refuses our credentials"):
        await open_store(f"gremlin+wss://{USER}:{WRONG}@{trusting}")
    assert connections() == 0


async def test_tls_that_cannot_be_agreed_on(
    secure_gremlin_server: GremlinServer, gremlin_server: GremlinServer, tmp_path: Path
) -> None:
    other = make_certificate(tmp_path, "any").public
    account = f"{USER}:{PASSWORD}"
    for refusing in (
        f"gremlin+wss://{account}@{secure_gremlin_server.address}/g?timeout_s=10",
        f"gremlin+wss://{account}@{secure_gremlin_server.address}/g?timeout_s=10&ca_file={other}",
        f"gremlin+wss://{account}@{gremlin_server.address}/g?timeout_s=10",
    ):
        with pytest.raises(StoreCredentials, match="TLS could not be agreed on") as raised:
            await open_store(refusing)
        assert PASSWORD not in full_text(raised.value)
    with pytest.raises(StoreUnavailable):
        await open_store(f"gremlin://{account}@{secure_gremlin_server.address}/g?timeout_s=10")


async def test_a_server_that_is_down_at_the_start() -> None:
    with pytest.raises(StoreUnavailable, match="cannot be reached") as raised:
        await open_store(f"gremlin://{USER}:{WRONG}@127.0.0.1:{free_port()}/g?timeout_s=4")
    assert WRONG not in full_text(raised.value)


async def test_an_unknown_traversal_source(gremlin_server: GremlinServer) -> None:
    with pytest.raises(StoreRefused, match="nowhere"):
        await open_store(f"gremlin://{gremlin_server.address}/nowhere?timeout_s=4")


async def test_a_cut_between_requests_goes_unnoticed(proxied: tuple[CuttingProxy, str]) -> None:
    """A connection that died while idle is replaced, without a restart of the driver."""
    proxy, url = proxied
    async with opened(url) as store:
        await fill(store, *SMALL)
        for node in ("c", "d"):
            proxy.cut()
            await store.upsert_nodes(node_rows([node]))
        assert len((await contents(store))[0]) == 4


async def test_a_cut_during_a_replacement(proxied: tuple[CuttingProxy, str]) -> None:
    """No client can read half a graph afterwards, and the replacement can be repeated."""
    proxy, url = proxied
    many = [f"n{number}" for number in range(5_000)]
    async with opened(url) as store:
        await fill(store, *SMALL)

        async def replace() -> None:
            async with store.replace() as replacement:
                await replacement.add_nodes(node_rows(many))
                proxy.cut_after_bytes = 150_000
                await replacement.commit()

        proxy.refuses = False
        cutting = asyncio.create_task(_refuse_once_cut(proxy))
        with pytest.raises(StoreUnavailable):
            await replace()
        cutting.cancel()
        proxy.restore()
        with pytest.raises(Conflict, match="failed before it was complete"):
            await contents(store)


async def _refuse_once_cut(proxy: CuttingProxy) -> None:
    while proxy.cut_after_bytes is None:
        await asyncio.sleep(0)
    while proxy.cut_after_bytes is not None:
        await asyncio.sleep(0)
    proxy.refuses = True


async def test_a_cut_during_a_reading(proxied: tuple[CuttingProxy, str]) -> None:
    proxy, url = proxied
    with pytest.raises(StoreUnavailable):
        await read_until_cut(proxy, url)
    assert proxy.refuses, "the connection was cut during the reading"


async def test_a_silent_server_ends_with_the_deadline(proxied: tuple[CuttingProxy, str]) -> None:
    proxy, url = proxied
    async with opened(url.replace("timeout_s=4", "timeout_s=1", 1)) as store:
        proxy.silent = True
        with pytest.raises(DeadlineExceeded, match="timeout_s"):
            await store.counts()
        proxy.restore()
        proxy.cut()
        assert (await store.counts()).nodes == 0


async def test_large_requests_are_split(url: str) -> None:
    """Requests stay below the server's default of 65,536 bytes, for any ids."""
    ids = [f"{'x' * 400}-{number}" for number in range(600)]
    edges = [(one, other, 1.0) for one, other in itertools.pairwise(ids)]
    async with opened(url) as store:
        await fill(store, ids, edges)
        nodes, read = await contents(store)
        assert (len(nodes), len(read)) == (600, 599)
        await store.delete_edges([(source, target) for source, target, _ in edges])
        assert (await store.counts()).edges == 0


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        ("g.addV('node').property(T.id, 'a').property('domain', 5)", "expected a text as domain, got int 5"),
        (
            "g.addV('node').property(T.id, 'a').as('a').addV('node').property(T.id, 'b').addE('leads_to').from('a')",
            "from 'a' to 'b': expected a number as property cost, got none",
        ),
        (
            "g.addV('node').property(T.id, 'a').as('a').addV('node').property(T.id, 'b').addE('leads_to').from('a')"
            ".property('cost', 'dear')",
            "property cost, got str 'dear'",
        ),
        (
            "g.addV('node').property(T.id, 'a').as('a').addV('node').property(T.id, 'b').addE('leads_to').from('a')"
            ".property('cost', -1.0d)",
            "finite cost from 0",
        ),
    ],
    ids=["number-as-domain", "no-cost", "text-as-cost", "negative"],
)
async def test_a_graph_that_cannot_be_read(url: str, gremlin_server: GremlinServer, made: str, complaint: str) -> None:
    gremlin_server.run(f"{made}.iterate(); 'made'")
    async with opened(url) as store:
        with pytest.raises(InvalidGraph, match=complaint):
            await contents(store)


async def test_a_node_without_the_id_property(janusgraph_server: JanusGraphServer) -> None:
    janusgraph_server.empty()
    async with opened(f"{janusgraph_server.url}?dialect=janusgraph") as store:
        janusgraph_server.run("g.addV('node').iterate(); 'made'")
        with pytest.raises(InvalidGraph, match="expected a text as uid, got none"):
            await contents(store)


async def test_foreign_parallel_edges_and_labels(url: str, gremlin_server: GremlinServer) -> None:
    gremlin_server.run(
        "g.addV('host').property(T.id, 'a').as('a').addV('host').property(T.id, 'b').as('b').addV('rack')."
        "property(T.id, 'c').as('c').addE('link').from('a').to('b').property('ms', 3).addE('link').from('a').to('b')."
        "property('ms', 2L).addE('link').from('a').to('c').property('ms', 1).iterate(); 'made'"
    )
    async with opened(f"{url}?label=host&edge_label=link&cost_property=ms") as store:
        async with store.read() as reading:
            assert [node async for rows in reading.nodes() for node in rows.ids] == ["a", "b"]
            assert sorted([cost async for rows in reading.edges() for cost in rows.costs.tolist()]) == [2.0, 3.0]
        assert (await store.shortest_path("a", "b")).cost == 2.0


async def test_patterns_are_unsupported(url: str) -> None:
    async with opened(url) as store:
        with pytest.raises(PatternsUnsupported, match="neo4j"):
            await store.match_pattern("g.V()", {}, PatternLimits())


async def test_the_lock_of_a_dead_replacement_expires(url: str, gremlin_server: GremlinServer) -> None:
    async with opened(url) as store:
        gremlin_server.run(
            "g.V('planmesh_graph:node').property('planmesh_lock', 'x').property('planmesh_lock_until', 4102444800.0d)."
            "iterate(); 'made'"
        )
        with pytest.raises(Conflict, match="another replacement"):
            await fill(store, *SMALL)
        gremlin_server.run("g.V('planmesh_graph:node').property('planmesh_lock_until', 1.0d).iterate(); 'made'")
        await fill(store, *SMALL)
        assert (await contents(store))[1] == {("a", "b"): 1.0}


async def test_neptune_signatures(gremlin_server: GremlinServer, no_aws: pytest.MonkeyPatch) -> None:
    gremlin_server.empty()
    target = f"http://{gremlin_server.address}/gremlin"
    async with signature_checking_server(target, ACCESS_KEY, SECRET_KEY, REGION) as neptune:
        url = f"gremlin://127.0.0.1:{neptune.port}/g?dialect=neptune&iam=true&timeout_s=10"
        no_aws.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        no_aws.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        async with opened(f"{url}&aws_region={REGION}") as store:
            await fill(store, *SMALL)
            await store.upsert_edges(edge_rows([("b", "a", 2.0)]))
            assert (await contents(store))[1] == {("a", "b"): 1.0, ("b", "a"): 2.0}
        assert neptune.accepted
        assert not neptune.refused
        no_aws.setenv("AWS_SESSION_TOKEN", "a-session-token")
        no_aws.setenv("AWS_DEFAULT_REGION", REGION)
        async with opened(url) as store:
            assert (await store.counts()).nodes == 2
        assert "x-amz-security-token" in neptune.signed_headers


async def test_neptune_refuses(
    gremlin_server: GremlinServer, no_aws: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "planmesh")
    target = f"http://{gremlin_server.address}/gremlin"
    async with signature_checking_server(target, ACCESS_KEY, SECRET_KEY, REGION) as neptune:
        url = f"gremlin://127.0.0.1:{neptune.port}/g?dialect=neptune&iam=true&timeout_s=10&aws_region="
        with pytest.raises(StoreCredentials, match="expected AWS credentials in the environment"):
            await open_store(f"{url}{REGION}")
        no_aws.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        no_aws.setenv("AWS_SECRET_ACCESS_KEY", WRONG)
        with pytest.raises(StoreCredentials, match="HTTP 403 Forbidden") as raised:
            await open_store(f"{url}{REGION}")
        assert WRONG not in full_text(raised.value)
        assert "Signature=" not in full_text(raised.value)
        no_aws.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        with pytest.raises(StoreCredentials, match="HTTP 403"):
            await open_store(f"{url}us-east-1")
        with pytest.raises(InvalidRequest, match="region"):
            await open_store(url)
        with pytest.raises(StoreCredentials, match="HTTP 403"):
            await open_store(f"gremlin://127.0.0.1:{neptune.port}/g?dialect=neptune&timeout_s=10")
        assert not neptune.accepted
        assert len(neptune.refused) == 3
    with pytest.raises(InvalidRequest, match="dialect=neptune"):
        await open_store(f"{gremlin_server.url}?iam=true")
