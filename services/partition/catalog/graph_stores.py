"""The stores that graphs live in, as the setting `stores` names them: opened when they are first asked, by us alone.

The mesh reads a graph from its store at a load only; what is asked of a store here are pattern queries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import orjson
from pydantic import SecretStr

from planmesh.errors import InvalidRequest, LimitExceeded, Overloaded, PatternsUnsupported
from planmesh.graph.rules import shown
from planmesh.settings import SettingsError
from planmesh.store.metered import MeteredStore, price_of
from planmesh.store.protocol import PATTERN_BYTES_MAX, PATTERN_ROWS_MAX, GraphStore, PatternAnswer, PatternLimits
from planmesh.store.row_checks import STORES_WITH_PATTERNS
from planmesh.store.urls import StoreUrl, open_parsed, parse_store_url
from planmesh.telemetry.metrics import Instruments
from services.partition.ingest.options import GRAPH_NAME

VARIABLE: Final = "PLANMESH_STORES"

STORES_MAX: Final = 1_000
"""Graphs in the setting: each store that is asked keeps connections open."""

QUERIES_MAX: Final = 32
"""Pattern queries under way at the same time; each may hold an answer of PATTERN_BYTES_MAX."""

RETRY_AFTER_S: Final = 1.0

ROWS_DEFAULT: Final = 1_000
QUERY_BYTES_MAX: Final = 65_536
PARAMETERS_BYTES_MAX: Final = 262_144

ENVELOPE_BYTES_MAX: Final = 262_144
"""Of an answer's message beside its rows: names of columns, and some bytes for each of 10,000 rows."""

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**63 - 1


def read_stores(setting: SecretStr) -> dict[str, StoreUrl]:
    """Read the setting: a JSON object of graph names and URLs. SettingsError, which never repeats a password."""
    try:
        found = orjson.loads(setting.get_secret_value())
    except orjson.JSONDecodeError:
        found = None  # the decoder's message would quote what is around the fault, and passwords are there
    if not isinstance(found, dict) or not all(isinstance(url, str) for url in found.values()):
        raise SettingsError(
            f'{VARIABLE}: expected a JSON object of graph names and URLs, such as {{"prod": "neo4j://…"}}'
        )
    if len(found) > STORES_MAX:
        raise SettingsError(f"{VARIABLE}: expected at most {STORES_MAX} graphs, got {len(found)}")
    stores = {}
    for graph, url in found.items():
        if GRAPH_NAME.fullmatch(graph) is None:
            raise SettingsError(f"{VARIABLE}: expected the name of a graph, got {shown(graph)}")
        try:
            stores[graph] = parse_store_url(url)
        except InvalidRequest as error:
            raise SettingsError(f"{VARIABLE}: graph {graph!r}: {error.message}") from None
    return stores


def read_parameters(text: str) -> dict[str, Any]:
    """Read the parameters of a pattern, a JSON object with integers of 64 bits. InvalidRequest otherwise."""
    if not text:
        return {}
    _check_size(text, PARAMETERS_BYTES_MAX, "parameters_json")
    try:
        parameters = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"parameters_json: expected a JSON object: {error}", field="parameters_json") from None
    if not isinstance(parameters, dict):
        raise InvalidRequest(
            f"parameters_json: expected a JSON object, got {type(parameters).__name__}", field="parameters_json"
        )
    left: list[Any] = [parameters]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
        elif isinstance(value, int) and not INTEGER_MIN <= value <= INTEGER_MAX:
            raise InvalidRequest(
                f"parameters_json: expected integers of 64 bits, got {value}; write it as a text",
                field="parameters_json",
            )
    return parameters


class GraphStores:
    """Opens each store once, and asks it."""

    def __init__(self, locations: Mapping[str, StoreUrl], instruments: Instruments) -> None:
        self._locations = dict(locations)
        self._instruments = instruments
        self._opened: dict[str, GraphStore] = {}
        self._opening = {graph: asyncio.Lock() for graph in locations}
        self._queries = 0

    def has(self, graph: str) -> bool:
        """Tell whether the setting names a store for a graph."""
        return graph in self._locations

    async def match(
        self, graph: str, query: str, parameters_json: str, rows_max: int, timeout_s: float
    ) -> tuple[str, PatternAnswer]:
        """Ask a pattern of a graph's store; returns the kind of store too. `rows_max` 0 is ROWS_DEFAULT.

        PatternsUnsupported when the setting names no store for the graph, or that store has no patterns; Overloaded
        when QUERIES_MAX are under way; and what GraphStore.match_pattern raises.
        """
        if not query.strip():
            raise InvalidRequest("query: expected a query, got none", field="query")
        _check_size(query, QUERY_BYTES_MAX, "query")
        if rows_max > PATTERN_ROWS_MAX:
            raise InvalidRequest(
                f"max_rows: expected at most {PATTERN_ROWS_MAX}, got {rows_max}",
                field="max_rows",
                bound=str(PATTERN_ROWS_MAX),
            )
        parameters = read_parameters(parameters_json)
        if self._queries >= QUERIES_MAX:
            raise Overloaded(
                f"{QUERIES_MAX} pattern queries are under way, which is the bound; come back in {RETRY_AFTER_S} s",
                bound="QUERIES_MAX",
                retry_after_s=RETRY_AFTER_S,
            )
        self._queries += 1
        try:
            began_s = asyncio.get_running_loop().time()
            store = await self._store(graph)
            spent_s = asyncio.get_running_loop().time() - began_s
            limits = PatternLimits(
                rows_max or ROWS_DEFAULT, PATTERN_BYTES_MAX - ENVELOPE_BYTES_MAX, max(0.001, timeout_s - spent_s)
            )
            return store.traits.name, await store.match_pattern(query, parameters, limits)
        finally:
            self._queries -= 1

    async def close(self) -> None:
        """Close every store."""
        while self._opened:
            await self._opened.popitem()[1].close()

    async def _store(self, graph: str) -> GraphStore:
        """Open the store of a graph, once; when that fails the next caller tries again."""
        location = self._locations.get(graph)
        if location is None:
            raise PatternsUnsupported(
                f"the mesh knows no store of graph {graph!r} ({VARIABLE} names them); stores that have patterns: "
                + ", ".join(STORES_WITH_PATTERNS),
                graph=graph,
            )
        async with self._opening[graph]:
            if graph not in self._opened:
                store = await open_parsed(location)
                self._opened[graph] = MeteredStore(store, self._instruments, price_of(location))
            return self._opened[graph]


def _check_size(text: str, bytes_max: int, field: str) -> None:
    size_bytes = len(text.encode())
    if size_bytes > bytes_max:
        raise LimitExceeded(
            f"{field}: expected at most {bytes_max:,} bytes, got {size_bytes:,}", bound=field, field=field
        )
