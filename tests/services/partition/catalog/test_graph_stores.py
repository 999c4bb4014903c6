"""Pattern queries through the partition service: which store they use, refusals, and errors without passwords."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from pydantic import SecretStr

from planmesh.errors import (
    DeadlineExceeded,
    GraphUnknown,
    InvalidRequest,
    LimitExceeded,
    Overloaded,
    PatternRefused,
    PatternsUnsupported,
    StoreCredentials,
    StoreUnavailable,
)
from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.local.ports import free_port
from planmesh.rpc.status import from_rpc_error
from planmesh.settings import SettingsError
from planmesh.store.urls import open_store
from services.partition.catalog import graph_stores
from services.partition.catalog.graph_stores import QUERY_BYTES_MAX, read_parameters, read_stores
from tests.conftest import RedisServer
from tests.servers.neo4j_server import Neo4jServer
from tests.services.partition.conftest import OpenService, Service, edges, header, nodes
from tests.store.contract.rows import fill

ENDLESS = "UNWIND range(1, 1000000000) AS one UNWIND range(1, 1000000) AS other RETURN sum(one + other)"


async def ask(
    service: Service, graph: str, query: str, *, timeout_s: float = 30.0, **fields: Any
) -> pb.AskStoreResponse:
    request = pb.AskStoreRequest(graph=graph, query=query, **fields)
    try:
        response: pb.AskStoreResponse = await service.stub.AskStore(request, timeout=timeout_s)
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    return response


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("{", "a JSON object"),
        ('["neo4j://tops3cret@x"]', "a JSON object"),
        ('{"g": 5}', "a JSON object"),
        ('{"../g": "sqlite:///x.db"}', "the name of a graph"),
        ('{"g": "mysql://u:tops3cret@h/x"}', "graph 'g': expected the URL of a store"),
        ('{"g": "neo4j://u:tops3cret/x@h:1"}', "graph 'g'"),
        ('{"g": "neo4j://u@h:1?password_file=/no/such/file"}', "No such file"),
        (json.dumps({f"g{number}": "sqlite:///x.db" for number in range(1_001)}), "at most 1000"),
    ],
)
def test_an_invalid_setting_is_an_error_without_a_password(setting: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as raised:
        read_stores(SecretStr(setting))
    assert "PLANMESH_STORES" in str(raised.value)
    assert "tops3cret" not in str(raised.value)


def test_an_invalid_setting_ends_the_process_with_2(tmp_path: Path) -> None:
    environment = {"PLANMESH_STORES": '{"g": "neo4j://u:tops3cret@h:port"}', "PLANMESH_DATA": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", "services.partition"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert "PLANMESH_STORES: graph 'g'" in ended.stderr
    assert "tops3cret" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "text", ["{", "[1]", "7", '{"x": 9223372036854775808}', '{"x": [{"y": 18446744073709551615}]}']
)
def test_invalid_parameters_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="parameters_json"):
        read_parameters(text)


def test_valid_parameters_are_accepted() -> None:
    assert read_parameters("") == {}
    assert read_parameters('{"x": [-9223372036854775808, true, null, "a"]}') == {"x": [-(2**63), True, None, "a"]}
    with pytest.raises(LimitExceeded):
        read_parameters(json.dumps({"x": "a" * 262_144}))


@pytest.mark.mesh
async def test_stores_without_patterns_are_named(
    open_service: OpenService, tmp_path: Path, broker: RedisServer
) -> None:
    stores = {"sqlite": f"sqlite:///{tmp_path}/g.db", "redis": f"{broker.url}?graph={secrets.token_hex(4)}"}
    async with open_service(stores=json.dumps(stores)) as service:
        for graph in stores:
            with pytest.raises(PatternsUnsupported, match="neo4j") as raised:
                await ask(service, graph, "RETURN 1")
            assert broker.prepared.password not in str(raised.value.metadata) + raised.value.message
        with pytest.raises(GraphUnknown):
            await ask(service, "unknown", "RETURN 1")


@pytest.mark.mesh
async def test_invalid_queries_are_refused_before_a_store_is_opened(open_service: OpenService) -> None:
    down = {"g": f"neo4j://neo4j:tops3cret@127.0.0.1:{free_port()}?timeout_s=2&connect_timeout_s=1"}
    async with open_service(stores=json.dumps(down)) as service:
        with pytest.raises(InvalidRequest, match="query"):
            await ask(service, "g", " ")
        with pytest.raises(LimitExceeded, match="query"):
            await ask(service, "g", "x" * (QUERY_BYTES_MAX + 1))
        with pytest.raises(InvalidRequest, match="max_rows"):
            await ask(service, "g", "RETURN 1", max_rows=10_001)
        with pytest.raises(InvalidRequest, match="parameters_json"):
            await ask(service, "g", "RETURN 1", parameters_json="[]")
        for _ in range(2):  # the second query tries again to open the store
            with pytest.raises((StoreUnavailable, DeadlineExceeded)) as raised:
                await ask(service, "g", "RETURN 1")
            assert "tops3cret" not in str(raised.value.metadata) + raised.value.message


@pytest.mark.stores
async def test_patterns_run_on_neo4j(open_service: OpenService, neo4j_server: Neo4jServer) -> None:
    neo4j_server.empty()
    store = await open_store(neo4j_server.url)
    try:
        await fill(store, ["a", "b"], [("a", "b", 1.5)])
    finally:
        await store.close()
    async with open_service(stores=json.dumps({"g": neo4j_server.url})) as service:
        answer = await ask(
            service, "g", "MATCH (n {id: $id})-[e]->(m) RETURN m.id AS m, e", parameters_json='{"id": "a"}'
        )
        assert (answer.graph, answer.store, list(answer.columns)) == ("g", "neo4j", ["m", "e"])
        assert [json.loads(row) for row in answer.rows_json] == [["b", {"type": "EDGE", "properties": {"cost": 1.5}}]]
        assert len(answer.trace_id) == 32
        for write in ("CREATE (n:Node {id: 'evil'})", "MATCH (n) DETACH DELETE n", "MATCH (n RETURN n"):
            with pytest.raises(PatternRefused, match=r"\(Neo\.ClientError\."):
                await ask(service, "g", write)
        numbers = "UNWIND range(1, $count) AS number RETURN number"
        with pytest.raises(LimitExceeded, match="more than 1,000 rows"):
            await ask(service, "g", numbers, parameters_json='{"count": 1001}')
        full = await ask(service, "g", numbers, parameters_json='{"count": 10000}', max_rows=10_000)
        assert len(full.rows_json) == 10_000
        with pytest.raises(LimitExceeded, match="larger than"):
            await ask(
                service, "g", f"{numbers}, $text", parameters_json=json.dumps({"count": 100, "text": "x" * 90_000})
            )
        with pytest.raises(DeadlineExceeded):
            await ask(service, "g", ENDLESS, timeout_s=2)
        counted = await ask(service, "g", "MATCH (n:Node) RETURN count(n)")
        assert list(counted.rows_json) == ["[2]"], "nothing was written, and the store still answers"


@pytest.mark.stores
async def test_an_answer_at_the_bound_fits_a_message_of_the_default_size(
    open_service: OpenService, neo4j_server: Neo4jServer
) -> None:
    """With the most and the largest rows, an answer stays below gRPC's default bound of 4 MiB."""
    async with open_service(stores=json.dumps({"g": neo4j_server.url})) as service:
        query = "UNWIND range(1, $count) AS number RETURN $text"
        parameters = json.dumps({"count": 10_000, "text": "x" * 389})
        answer = await ask(service, "g", query, parameters_json=parameters, max_rows=10_000)
        assert 3_900_000 < answer.ByteSize() < 4 * 2**20


@pytest.mark.stores
async def test_more_queries_than_the_bound_are_refused_as_overload(
    open_service: OpenService, neo4j_server: Neo4jServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_stores, "QUERIES_MAX", 1)
    async with open_service(stores=json.dumps({"g": neo4j_server.url})) as service:
        # The first of them runs until its deadline.
        asked = [ask(service, "g", ENDLESS, timeout_s=4) for _ in range(3)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, Overloaded)]
        assert len(refused) == 2
        assert refused[0].retry_after_s > 0
        assert sum(isinstance(outcome, DeadlineExceeded) for outcome in outcomes) == 1
        assert (await ask(service, "g", "RETURN 1")).rows_json


@pytest.mark.stores
async def test_wrong_credentials_are_reported_without_the_password(
    open_service: OpenService, neo4j_server: Neo4jServer
) -> None:
    url = f"bolt://neo4j:not-the-password@{neo4j_server.address}"
    async with open_service(stores=json.dumps({"g": url})) as service:
        with pytest.raises(StoreCredentials, match="refuses our credentials") as raised:
            await ask(service, "g", "RETURN 1")
        assert "not-the-password" not in str(raised.value.metadata) + raised.value.message


@pytest.mark.mesh
async def test_a_graph_without_a_store_is_known_and_has_no_patterns(service: Service) -> None:
    await service.load([header("g"), nodes(["a", "b"]), edges([("a", "b", 1.0)])])
    with pytest.raises(PatternsUnsupported, match="the mesh knows no store of graph 'g'"):
        await ask(service, "g", "RETURN 1")
