"""Metrics of real stores, as an exporter receives them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from opentelemetry.sdk.metrics.export import (
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    InMemoryMetricReader,
    NumberDataPoint,
)

from planmesh.errors import NodeUnknown, NoPath, PatternsUnsupported, StoreUnavailable
from planmesh.store.metered import MeteredStore, price_of
from planmesh.store.protocol import Direction, PatternLimits, StoreChanges
from planmesh.store.urls import open_store, parse_store_url
from planmesh.telemetry import names
from planmesh.telemetry.tracing import Telemetry, make_telemetry
from tests.conftest import RedisServer
from tests.store.contract.rows import contents, edge_rows, fill, node_rows

Point = NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint


class Measured:
    """The exported metrics."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.telemetry: Telemetry = make_telemetry("test", metric_readers=[self._reader])

    def points(self, metric: str) -> dict[tuple[object, ...], Point]:
        """Return the points of a metric, keyed by the values of their attributes in order of their names."""
        data = self._reader.get_metrics_data()
        assert data is not None
        return {
            tuple(value for _, value in sorted(dict(point.attributes or {}).items())): point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for one in scope.metrics
            if one.name == metric
            for point in one.data.data_points
        }

    def value(self, metric: str, *about: object) -> float:
        """Return the value of one point."""
        point = self.points(metric)[about]
        assert isinstance(point, NumberDataPoint)
        return float(point.value)

    def calls(self) -> dict[object, int]:
        """Return the number of timed calls by operation."""
        points = self.points(names.METRIC_STORE_DURATION)
        return {about[1]: point.count for about, point in points.items() if isinstance(point, HistogramDataPoint)}


@pytest.fixture
def measured() -> Iterator[Measured]:
    measured = Measured()
    yield measured
    measured.telemetry.shutdown()


async def test_calls_and_errors(measured: Measured, tmp_path: Path) -> None:
    store = MeteredStore(await open_store(f"sqlite:///{tmp_path}/g.db"), measured.telemetry.instruments)
    try:
        await fill(store, ["a", "b", "c"], [("a", "b", 1.5)])
        assert (await contents(store))[1] == {("a", "b"): 1.5}
        await store.upsert_nodes(node_rows(["d"]))
        await store.upsert_edges(edge_rows([("b", "d", 1.0)]))
        assert (await store.shortest_path("a", "d")).cost == 2.5
        with pytest.raises(NoPath):
            await store.shortest_path("d", "a")
        with pytest.raises(NodeUnknown):
            await store.get_node("x")
        assert len(await store.neighbors("a", 2, Direction.OUT)) == 2
        with pytest.raises(PatternsUnsupported):
            await store.match_pattern("x", {}, PatternLimits())
        await store.apply_changes(StoreChanges(3, upserted_nodes=node_rows(["e"])))
        assert await store.position() == 3
        await store.delete_edges([("b", "d")])
        await store.delete_nodes(["d"])
        assert (await store.health()).server
        assert await store.revision()
    finally:
        await store.close()
    calls = measured.calls()
    assert calls["shortest_path"] == 2
    assert set(calls) == {
        *("replace", "read", "counts", "upsert_nodes", "upsert_edges", "shortest_path", "get_node", "neighbors"),
        *("match_pattern", "delete_edges", "delete_nodes", "health", "revision", "apply_changes", "position"),
    }
    errors = measured.points(names.METRIC_STORE_ERRORS)
    assert set(errors) == {("PatternsUnsupported", "sqlite", "match_pattern")}, "no path and no node are answers"
    assert measured.points(names.METRIC_STORE_QUERY_COST) == {}, "no price was given"


async def test_hits_and_the_share_of_hot_answers(measured: Measured, tmp_path: Path, redis_server: RedisServer) -> None:
    front, back = f"{redis_server.url}?graph={secrets.token_hex(4)}", f"sqlite:///{tmp_path}/g.db"
    url = f"hybrid://?front={quote(front, safe='')}&back={quote(back, safe='')}&hot_threshold=3"
    store = MeteredStore(await open_store(url), measured.telemetry.instruments)
    try:
        await fill(store, ["a", "b"], [("a", "b", 1.5)])
        for _ in range(8):  # two are not hot yet, the third misses, five hit
            assert (await store.shortest_path("a", "b")).cost == 1.5
        assert measured.value(names.METRIC_STORE_HITS, "hybrid") == 5
        assert measured.value(names.METRIC_STORE_MISSES, "hybrid") == 1
        assert measured.value(names.METRIC_STORE_HOT_SHARE, "hybrid") == 5 / 8
        redis_server.kill()
        with pytest.raises(StoreUnavailable):
            await store.upsert_nodes(node_rows(["c"]))
        assert measured.value(names.METRIC_STORE_ERRORS, "StoreUnavailable", "hybrid", "upsert_nodes") == 1
    finally:
        await store.close()


async def test_the_cost_of_a_query(measured: Measured, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/g.db?usd_per_hour=1.8"
    now_s = 0.0
    price = price_of(parse_store_url(url))
    store = MeteredStore(await open_store(url), measured.telemetry.instruments, price, clock_s=lambda: now_s)
    try:
        await fill(store, ["a"], [])
        now_s = 100.0
        for _ in range(4):
            await store.get_node("a")
    finally:
        await store.close()
    assert measured.value(names.METRIC_STORE_QUERY_COST, "sqlite") == pytest.approx(1.8 * 100 / 3_600 / 4)


def test_the_price_in_a_url_with_other_options() -> None:
    assert price_of(parse_store_url("neo4j://u:p@h:1?usd_per_hour=0.5&label=Node&schema_create=false")) == 0.5
    assert price_of(parse_store_url("redis://h:1/0?graph=g")) == 0.0
